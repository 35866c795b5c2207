"""What runs in a machine when it boots, in the place of an image's own init and cloud-init. Pure.

A shell script, below the engine's init: it puts the key in its place, runs the user data once in the machine's life, starts sshd where there is one, and waits.
`shutdown`, `poweroff`, `halt` and `reboot` tell it to end. Of user data it understands what begins with `#!`, plain, compressed, or as a part of a MIME archive;
cloud-config is not run, and the console says so.
"""

from __future__ import annotations

import email
import gzip
import zlib

REBOOT = 85  # the exit code that asks for another boot
BOOT_PATH = "/usr/local/lib/cloudstead/boot"
SCRIPT_PATH = "/usr/local/lib/cloudstead/user-data"
SWITCH_PATH = "/usr/local/lib/cloudstead/switch"
KEY_PATH = "/usr/local/lib/cloudstead/key"
LARGEST = 1 << 20  # bytes of user data, uncompressed
SWITCHES = ("shutdown", "poweroff", "halt", "reboot")

SWITCH = b"""#!/bin/sh
signal=TERM
case "$0 $*" in *reboot*|*' -r'*) signal=USR1 ;; esac
case " $* " in *' -c '*) exit 0 ;; esac
kill -$signal "$(cat /run/cloudstead-boot.pid)"
"""

_BOOT = """#!/bin/sh
trap 'exit 0' TERM INT
trap 'exit {reboot}' USR1
mkdir -p /run && echo $$ > /run/cloudstead-boot.pid
mkdir -p /usr/local/sbin
for name in {switches}; do
    cat {switch} > /usr/local/sbin/$name && chmod 755 /usr/local/sbin/$name
done
seen=/var/lib/cloud/instances/{id}
mkdir -p "$seen/sem"
if [ -s {key} ]; then
    for home in /root /home/*; do
        [ -d "$home" ] || continue
        mkdir -p "$home/.ssh" && chmod 700 "$home/.ssh"
        grep -qxFf {key} "$home/.ssh/authorized_keys" 2>/dev/null || cat {key} >> "$home/.ssh/authorized_keys"
        chmod 600 "$home/.ssh/authorized_keys"
        chown -R "$(stat -c %u:%g "$home")" "$home/.ssh"
    done
fi
{note}
if [ -s {script} ] && [ ! -e "$seen/sem/config_scripts_user" ]; then
    : > "$seen/sem/config_scripts_user"
    cat {script} > "$seen/user-data" && chmod 700 "$seen/user-data"
    "$seen/user-data" &
    wait $! || echo "cloudstead: the user data ended with $?"
fi
if [ -x /usr/sbin/sshd ]; then
    mkdir -p /run/sshd
    ssh-keygen -A > /dev/null
    /usr/sbin/sshd
fi
: > /var/lib/cloud/instance-booted
while :; do sleep 86400 & wait $!; done
"""


def boot(instance: str, note: str) -> bytes:
    """The script, for one instance."""
    said = f"echo 'cloudstead: {note}'" if note else ""
    paths = {"key": KEY_PATH, "script": SCRIPT_PATH, "switch": SWITCH_PATH}
    return _BOOT.format(id=instance, note=said, reboot=REBOOT, switches=" ".join(SWITCHES), **paths).encode()


def script_of(data: bytes) -> tuple[bytes, str]:
    """The script in user data, and what is to be said of the rest."""
    try:
        data = _uncompressed(data)
    except (OSError, zlib.error):
        return b"", "the user data is compressed, and cannot be read"
    if data[:64].lower().startswith((b"content-type:", b"mime-version:")):
        return _of_archive(data)
    if data.startswith(b"#!") or not data.strip():
        return data.strip() and data, ""
    kind = data.split(b"\n", 1)[0][:40].decode("ascii", "replace").replace("'", "")
    return b"", f"user data that begins with {kind} is not run: only scripts are"


def _uncompressed(data: bytes) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    reader = zlib.decompressobj(wbits=31)
    found = reader.decompress(data, LARGEST)
    if reader.unconsumed_tail or not reader.eof:
        raise gzip.BadGzipFile("too large, or cut off")
    return found


def _of_archive(data: bytes) -> tuple[bytes, str]:
    """The first script of a MIME archive."""
    others = 0
    script = b""
    for part in email.message_from_bytes(data).walk():
        if part.is_multipart():
            continue
        content = part.get_payload(decode=True)
        if isinstance(content, bytes) and content.startswith(b"#!") and not script:
            script = content
        else:
            others += 1
    return script, f"{others} parts of the user data are not run: only the first script is" if others else ""
