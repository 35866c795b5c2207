"""From the lines of a Dockerfile to its instructions: flags, arguments and what each allows. The sentences are BuildKit's."""

from __future__ import annotations

import re
from collections.abc import Callable

from cloudstead.engine.build import durations
from cloudstead.engine.build import instructions as the
from cloudstead.engine.build.arguments import blank_separated, command_line, exactly_one, flags_of, listed, one, pairs, words
from cloudstead.engine.build.lines import Heredoc, Line, failed, json_strings, parse_heredoc, read, read_trigger, strip
from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.images.api import HealthConfig

_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*\Z")
_BLANKS = re.compile(r"[\t\v\f\r ]+")


def parse(text: str) -> the.Dockerfile:
    """A whole Dockerfile.

    Raises:
        InvalidArgument: "dockerfile parse error on line 3: …"
        Unsupported: something that this builder does not do.
    """
    if "\0" in text:
        raise InvalidArgument("the Dockerfile has a NUL character: it is no text")
    source = read(text)
    args: list[the.Arg] = []
    stages: list[tuple[the.From, list[the.Command]]] = []
    for line in source.lines:
        parsed = _located(line, source.escape)
        if isinstance(parsed, the.From):
            stages.append((parsed, []))
        elif stages:
            stages[-1][1].append(parsed)
        elif isinstance(parsed, the.Arg):
            args.append(parsed)
        else:
            raise failed(line.start, "no build stage in current context")
    if not stages:
        raise InvalidArgument("dockerfile contains no stages to build")
    return the.Dockerfile(
        args=tuple(args),
        stages=tuple(the.Stage(index=n, start=start, commands=tuple(commands)) for n, (start, commands) in enumerate(stages)),
        escape=source.escape,
        warnings=tuple(source.warnings),
    )


def parse_trigger(text: str, line: int, escape: str = "\\") -> the.Command:
    """What an ONBUILD of a base image wants done."""
    read_line = read_trigger(text)
    parsed = instruction(read_line, escape)
    if isinstance(parsed, the.From | the.Onbuild | the.Maintainer):
        raise InvalidArgument(f"{read_line.keyword} isn't allowed as an ONBUILD trigger")
    return parsed


def _located(line: Line, escape: str) -> the.From | the.Command:
    try:
        return instruction(line, escape)
    except InvalidArgument as error:
        raise failed(line.start, error.message) from None
    except Unsupported as error:
        raise Unsupported(f"dockerfile line {line.start}: {error.message}") from None


def instruction(line: Line, escape: str) -> the.From | the.Command:
    """One of them.

    Raises:
        InvalidArgument: it makes no sense. Unsupported: this builder does not do it.
    """
    reader = _READERS.get(line.keyword)
    if reader is None:
        raise InvalidArgument(f"unknown instruction: {line.keyword}")
    return reader(line, escape)


# ---------------------------------------------------------------------------------------------------------------- instructions


def _from(line: Line, escape: str) -> the.From:
    flags = flags_of(line, text=("platform",))
    parts = blank_separated(line.rest)
    name = ""
    if len(parts) == 3 and parts[1].lower() == "as":
        name = parts[2].lower()
        if not _STAGE_NAME.match(name):
            raise InvalidArgument(f'invalid name for build stage: "{parts[2]}", name can\'t start with a number or contain symbols')
    elif len(parts) != 1:
        raise InvalidArgument("FROM requires either one or three arguments")
    return the.From(base=parts[0], name=name, platform=one(flags, "platform"), original=strip(line.original), line=line.start)


def _arg(line: Line, escape: str) -> the.Arg:
    flags_of(line)
    found = words(line.rest, escape)
    if not found:
        raise InvalidArgument("ARG requires at least one argument")
    pairs: list[tuple[str, str | None]] = []
    for word in found:
        name, equals, value = word.partition("=")
        if not name:
            raise InvalidArgument("ARG names can not be blank")
        pairs.append((name, value if equals else None))
    return the.Arg(pairs=tuple(pairs), original=strip(line.original), line=line.start)


def _run(line: Line, escape: str) -> the.Run:
    flags = flags_of(line, text=("network", "security"), several=("mount", "device"))
    network = one(flags, "network", "default")
    if network not in ("default", "none", "host"):
        raise InvalidArgument(f'invalid network mode "{network}"')
    if one(flags, "security", "sandbox") != "sandbox":
        raise Unsupported("RUN --security=insecure is not done: a build has no more rights than a container")
    if "device" in flags:
        raise Unsupported("RUN --device is not done")
    args, shell = command_line(line.rest)
    if not args:
        raise InvalidArgument("RUN requires at least one argument")
    mounts = tuple(flags.get("mount", ()))
    for mount in mounts:
        _check_mount(mount)
    return the.Run(
        args=args, shell=shell, files=line.heredocs, mounts=mounts, network=network, original=strip(line.original), line=line.start
    )


def _check_mount(mount: str) -> None:
    """What can be said before variables are known."""
    for field in mount.split(","):
        name, _, value = field.partition("=")
        if name.lower() == "from" and "$" in value[:-1]:
            raise InvalidArgument("'from' doesn't support variable expansion, define alias stage instead")
        if name.lower() == "type" and value.lower() == "ssh":
            raise Unsupported("RUN --mount=type=ssh is not done: a build through the Docker API has no agent to ask")


def _copy(line: Line, escape: str) -> the.Copy:
    add = line.keyword == "ADD"
    flags = flags_of(
        line,
        text=("chown", "chmod", *(("checksum",) if add else ("from",))),
        boolean=("link", *(("keep-git-dir", "unpack") if add else ("parents",))),
        several=("exclude",),
    )
    parts = listed(line.rest)
    if len(parts) < 2:
        raise InvalidArgument(
            f"{line.keyword} requires at least two arguments, but only one was provided. Destination could not be determined"
        )
    if "keep-git-dir" in flags:
        raise Unsupported("ADD --keep-git-dir is not done: git repositories are not fetched")
    *given, dest = parts
    if parse_heredoc(dest) is not None:
        raise InvalidArgument(f"{line.keyword} cannot accept a heredoc as a destination")
    bodies = {heredoc.name: heredoc for heredoc in line.heredocs}
    files: list[Heredoc] = []
    sources: list[str] = []
    for source in given:
        heredoc = parse_heredoc(source)
        if heredoc is not None and heredoc.name in bodies:
            files.append(bodies[heredoc.name])
        else:
            sources.append(source)
    return the.Copy(
        add=add,
        sources=tuple(sources),
        files=tuple(files),
        dest=dest,
        stage=one(flags, "from"),
        chown=one(flags, "chown"),
        chmod=one(flags, "chmod"),
        link=one(flags, "link") == "true",
        parents=one(flags, "parents") == "true",
        excludes=tuple(flags.get("exclude", ())),
        checksum=one(flags, "checksum"),
        unpack=None if "unpack" not in flags else one(flags, "unpack") == "true",
        original=strip(line.original),
        line=line.start,
    )


def _expose(line: Line, escape: str) -> the.Expose:
    flags_of(line)
    ports = blank_separated(line.rest)
    if not ports:
        raise InvalidArgument("EXPOSE requires at least one argument")
    return the.Expose(ports=tuple(sorted(ports)), original=strip(line.original), line=line.start)


def _volume(line: Line, escape: str) -> the.Volume:
    flags_of(line)
    paths = tuple(strip(path) for path in listed(line.rest))
    if not paths:
        raise InvalidArgument("VOLUME requires at least one argument")
    if "" in paths:
        raise InvalidArgument("VOLUME specified can not be an empty string")
    return the.Volume(paths=paths, original=strip(line.original), line=line.start)


def _cmd(line: Line, escape: str) -> the.Cmd:
    flags_of(line)
    args, shell = command_line(line.rest)
    return the.Cmd(args=args, shell=shell, original=strip(line.original), line=line.start)


def _entrypoint(line: Line, escape: str) -> the.Entrypoint:
    flags_of(line)
    args, shell = command_line(line.rest)
    return the.Entrypoint(args=args, shell=shell, original=strip(line.original), line=line.start)


def _healthcheck(line: Line, escape: str) -> the.Healthcheck:
    kind, *more = re.split(r"\s+", line.rest, maxsplit=1)
    rest = more[0] if more else ""
    if not kind:
        raise InvalidArgument("HEALTHCHECK requires at least one argument")
    if kind.upper() == "NONE":
        if rest:
            raise InvalidArgument("HEALTHCHECK NONE takes no arguments")
        flags_of(line)
        return the.Healthcheck(health=HealthConfig(test=("NONE",)), original=strip(line.original), line=line.start)
    flags = flags_of(line, text=("interval", "timeout", "start-period", "start-interval", "retries"))
    if kind.upper() != "CMD":
        raise InvalidArgument(f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)')
    args, shell = command_line(rest)
    if not args:
        raise InvalidArgument("Missing command after HEALTHCHECK CMD")
    health = HealthConfig(
        test=("CMD-SHELL" if shell else "CMD", *args),
        interval=_interval(flags, "interval"),
        timeout=_interval(flags, "timeout"),
        start_period=_interval(flags, "start-period"),
        start_interval=_interval(flags, "start-interval"),
        retries=_retries(one(flags, "retries")),
    )
    return the.Healthcheck(health=health, original=strip(line.original), line=line.start)


def _interval(flags: dict[str, list[str]], name: str) -> int:
    nanoseconds = durations.parse(one(flags, name, "0"))
    if nanoseconds and nanoseconds < 1_000_000:
        raise InvalidArgument(f'Interval "{name}" cannot be less than 1ms')
    return nanoseconds


def _retries(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[+-]?\d{1,9}", text):
        raise InvalidArgument(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if int(text) < 0:
        raise InvalidArgument(f"--retries cannot be negative ({int(text)})")
    return int(text)


def _onbuild(line: Line, escape: str) -> the.Onbuild:
    flags_of(line)
    if not line.rest:
        raise InvalidArgument("ONBUILD requires at least one argument")
    keyword = _BLANKS.split(line.rest, maxsplit=1)[0].upper()
    if keyword == "ONBUILD":
        raise InvalidArgument("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("MAINTAINER", "FROM"):
        raise InvalidArgument(f"{keyword} isn't allowed as an ONBUILD trigger")
    trigger = re.sub(r"\A\s*ONBUILD\s*", "", line.original, flags=re.IGNORECASE)
    for heredoc in line.heredocs:
        trigger += "\n" + heredoc.content + heredoc.name
    parse_trigger(trigger, line.start, escape)
    return the.Onbuild(trigger=trigger, original=strip(line.original), line=line.start)


def _shell(line: Line, escape: str) -> the.Shell:
    flags_of(line)
    strings = json_strings(line.rest)
    if strings is None:
        if line.rest:
            raise InvalidArgument(f"SHELL requires the arguments to be in JSON form: {line.original}")
        raise InvalidArgument("SHELL requires at least one argument")
    if not strings:
        raise InvalidArgument("SHELL requires at least one argument")
    return the.Shell(args=strings, original=strip(line.original), line=line.start)


_READERS: dict[str, Callable[[Line, str], the.From | the.Command]] = {
    "FROM": _from,
    "ARG": _arg,
    "ENV": lambda line, escape: the.Env(pairs=pairs(line, escape), original=strip(line.original), line=line.start),
    "LABEL": lambda line, escape: the.Label(pairs=pairs(line, escape), original=strip(line.original), line=line.start),
    "RUN": _run,
    "COPY": _copy,
    "ADD": _copy,
    "WORKDIR": lambda line, escape: the.Workdir(path=exactly_one(line), original=strip(line.original), line=line.start),
    "USER": lambda line, escape: the.User(user=exactly_one(line), original=strip(line.original), line=line.start),
    "EXPOSE": _expose,
    "VOLUME": _volume,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "HEALTHCHECK": _healthcheck,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": lambda line, escape: the.Stopsignal(signal=exactly_one(line), original=strip(line.original), line=line.start),
    "MAINTAINER": lambda line, escape: the.Maintainer(name=exactly_one(line), original=strip(line.original), line=line.start),
}
