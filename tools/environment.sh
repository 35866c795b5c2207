# Sourced by ./cloudstead and ./test: `prepare LOCK` makes .venv hold what LOCK names. Plain sh; when nothing is to be done it starts one process.
# Needs $root, the repository's folder.

venv=$root/.venv
stamp=$venv/installed

prepare() {
    [ -x "$venv/bin/python" ] && cmp -s "$root/$1" "$stamp.${1%.lock}" && return
    _prepare "$1" || exit 1
}

_prepare() {
    lock=$1
    mkdir -p "$root/.cache" 2>/dev/null && [ -w "$root/.cache" ] || {
        note "$root cannot be written; clone the repository to a folder of your own."
        return 1
    }
    # Two at once in a fresh clone: the second waits and finds everything done.
    exec 9>"$root/.cache/prepare.lock"
    if command -v flock >/dev/null; then flock 9; fi
    if [ -x "$venv/bin/python" ] && cmp -s "$root/$lock" "$stamp.${lock%.lock}"; then exec 9>&-; return; fi
    if ! [ -x "$venv/bin/python" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        _find_python
        note "making .venv with $("$python" --version)"
        rm -rf "$venv"
        "$python" -m venv "$venv" || return 1
    fi
    note "installing what $lock names (once; again only when it changes)"
    rm -f "$stamp".*
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-input --only-binary :all: --require-hashes -r "$root/$lock" || {
        note "installing failed; is the Python package index reachable?"
        return 1
    }
    # Our own code is used from where it stands: no build, nothing to install again after an edit.
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))') || return 1
    printf '%s\n' "$root/src" >"$site/cloudstead-source.pth"
    # Bytecode now: a start that has to make it takes twice as long, and where PYTHONDONTWRITEBYTECODE is set (as in images) every start would.
    (cd "$site" && "$venv/bin/python" -m compileall -q "$root/src/cloudstead" httptools msgspec sortedcontainers uvloop) || return 1
    cp "$root/$lock" "$stamp.${lock%.lock}"
    # The developers' lock holds all that running needs, at the same versions.
    if [ "$lock" = requirements-dev.lock ]; then cp "$root/requirements.lock" "$stamp.requirements"; fi
    exec 9>&-
}

# Sets $python to a Python of at least 3.11 that can make virtual environments; installs Debian's if there is none.
_find_python() {
    for python in python3 python3.13 python3.12 python3.11 python3.14; do
        _usable && return
    done
    packages="python3 python3-venv ca-certificates"
    if command -v python3 >/dev/null && ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        packages="python3.11 python3.11-venv ca-certificates"
    fi
    if ! command -v apt-get >/dev/null; then
        note "Python 3.11 or newer with the venv module is needed; install it and run this again."
        exit 1
    fi
    if [ "$(id -u)" != 0 ]; then
        note "Python 3.11 or newer with the venv module is needed. Run:"
        note "    sudo apt-get install $packages"
        exit 1
    fi
    note "installing $packages"
    {
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
    } >"$root/.cache/apt.log" 2>&1 </dev/null || {
        cat "$root/.cache/apt.log" >&2
        exit 1
    }
    for python in python3 python3.11; do
        _usable && return
    done
    note "no Python 3.11 or newer could be installed; this system is too old."
    exit 1
}

_usable() {
    command -v "$python" >/dev/null && "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Installs Debian packages that lack, when this is root on a Debian or Ubuntu; else says what to install. Never fails: who needs one says so itself.
# Programs named by `program:package`; CLOUDSTEAD_NO_APT=1 leaves the machine alone.
programs() {
    lacking=""
    for pair in "$@"; do
        case $pair in
            /*) [ -e "${pair%%:*}" ] || lacking="$lacking ${pair#*:}" ;;
            *) PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || lacking="$lacking ${pair#*:}" ;;
        esac
    done
    [ -n "$lacking" ] || return 0
    command -v apt-get >/dev/null || return 0
    if [ "$(id -u)" != 0 ] || [ -n "${CLOUDSTEAD_NO_APT:-}" ]; then return 0; fi
    # Once for each set of packages: what cannot be installed here is not tried at every start.
    mkdir -p "$root/.cache" && [ "$(cat "$root/.cache/apt.tried" 2>/dev/null)" != "$lacking" ] || return 0
    printf '%s' "$lacking" >"$root/.cache/apt.tried"
    note "installing Debian's packages$lacking"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $lacking; } >"$root/.cache/apt.log" 2>&1 </dev/null ||
        note "installing failed ($root/.cache/apt.log); what needs them will say so."
}

# Takes programs out of Debian packages without installing them, so that no service is started: for tests. Named by `program:package`. Prints nothing; puts
# them on PATH, behind what is installed.
unpacked() {
    folder=$root/.cache/debian
    PATH=$PATH:$folder/usr/bin:$folder/usr/sbin
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null && continue
        mkdir -p "$folder"
        (cd "$folder" && apt-get download -qq "${pair#*:}" && dpkg -x "${pair#*:}"_*.deb . && rm -f "${pair#*:}"_*.deb) >/dev/null 2>&1 </dev/null
    done
}

note() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
}
