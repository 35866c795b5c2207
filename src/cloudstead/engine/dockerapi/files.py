"""Files of containers: `docker cp`, export, diff and commit."""

from __future__ import annotations

import base64
import stat

import msgspec

from cloudstead.engine.dockerapi.answers import begun, json_answer, nano_date
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.errors import InvalidArgument, NotFound
from cloudstead.engine.snapshots.api import PathStat
from cloudstead.http.messages import HttpResponse

STAT_HEADER = "X-Docker-Container-Path-Stat"
KINDS = {"modified": 0, "added": 1, "deleted": 2}

# Go's os.FileMode: types are bits of its own, above the permissions.
GO_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: (1 << 26) | (1 << 21),
}
GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


def go_mode(mode: int) -> int:
    found = (mode & 0o777) | GO_TYPES.get(stat.S_IFMT(mode), 0)
    for bit, theirs in GO_BITS.items():
        if mode & bit:
            found |= theirs
    return found


def stat_header(found: PathStat) -> tuple[str, str]:
    described = {
        "name": found.name,
        "size": found.size,
        "mode": go_mode(found.mode),
        "mtime": nano_date(round(found.mtime * 1e6) * 1000),
        "linkTarget": found.link_target,
    }
    return STAT_HEADER, base64.b64encode(msgspec.json.encode(described)).decode()


def _path(request: DockerRequest) -> str:
    path = request.text("path")
    if not path:
        raise InvalidArgument(
            "bad parameter: missing required 'path' argument" if "path" not in request.parameters else "path cannot be empty"
        )
    if "\0" in path:
        raise InvalidArgument("the path has a null byte in it")
    return path if path.startswith("/") else f"/{path}"


async def _stat(api: DockerApi, id: str, name: str, path: str) -> PathStat:
    try:
        return await api.engine.pods.stat_path(id, path)
    except NotFound:
        raise NotFound(f"Could not find the file {path} in container {name}") from None


@route("HEAD", "/containers/{name}/archive")
async def stat_archive(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = api.part(Containers).find(request["name"])
    found = await _stat(api, row.id, request["name"], _path(request))
    return HttpResponse(200, [stat_header(found)])


@route("GET", "/containers/{name}/archive")
async def get_archive(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = api.part(Containers).find(request["name"])
    path = _path(request)
    found = await _stat(api, row.id, request["name"], path)
    tar = await begun(api.engine.pods.get_archive(row.id, path))
    return HttpResponse(200, [("Content-Type", "application/x-tar"), stat_header(found)], tar)


@route("PUT", "/containers/{name}/archive")
async def put_archive(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = api.part(Containers).find(request["name"])
    await api.engine.pods.put_archive(
        row.id,
        _path(request),
        request.http.stream(),
        no_overwrite_dir_non_dir=request.flag("noOverwriteDirNonDir"),
        copy_uid_gid=request.flag("copyUIDGID"),
    )
    return HttpResponse(200)


@route("GET", "/containers/{name}/export")
async def export_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = api.part(Containers).find(request["name"])
    tar = await begun(api.engine.pods.export(row.id))
    api.part(Containers).tell(row, "export")
    return HttpResponse(200, [("Content-Type", "application/octet-stream")], tar)


@route("GET", "/containers/{name}/changes")
async def container_changes(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = api.part(Containers).find(request["name"])
    changes = await api.engine.pods.changes(row.id)
    return json_answer([{"Path": each.path, "Kind": KINDS[each.kind]} for each in changes] or None)
