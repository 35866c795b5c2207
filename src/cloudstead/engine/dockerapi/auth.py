"""`docker login`."""

from __future__ import annotations

from cloudstead.engine.dockerapi.answers import json_answer
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.credentials import AuthConfig, registry_of
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.http.messages import HttpResponse


@route("POST", "/auth")
async def login(api: DockerApi, request: DockerRequest) -> HttpResponse:
    """Unauthorized, a 401, when the registry says so. No token is given back: clients go on with name and password."""
    config = await request.json(AuthConfig)
    await api.engine.images.check_credentials(registry_of(config.serveraddress), config.credentials())
    return json_answer({"IdentityToken": "", "Status": "Login Succeeded"})
