"""What the registry protocol asks ECR Public: who calls, which repository, whether they may. Paths are `<alias>/<repository>`.

Everybody may pull, with no password at all; whoever shows one, must show a good one. The first request of a client, GET /v2/, is answered with a
challenge all the same: docker and skopeo learn by it how to show a password when they push, and pull without one when they have none. AWS's challenge
is for a bearer token from an address of its own; ours is Basic, with the password of GetAuthorizationToken, which every client understands as well.

At an address that is not the public registries' alone (`localhost:4566/<alias>/<repository>`) clients know one password for it: ECR's is taken there, too.

What needs a password is judged as the operation of the API that it stands for.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from cloudstead.engine.registry.errors import Denied, NameUnknown, Unauthorized
from cloudstead.engine.registry.gate import Doing, Rules
from cloudstead.engine.registry.model import BLOBS, ImageRow
from cloudstead.engine.registry.passwords import Pass, Passwords, challenge
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import AccessDenied
from cloudstead.kernel.identity import anonymous
from cloudstead.kernel.shapes import Request
from cloudstead.services.ecr_public import api, arns, authorization, registries, repositories
from cloudstead.services.ecr_public.model import REGISTRIES, REPOSITORIES, PublicRepository, registry_of
from cloudstead.services.ecr_public.regions import REGION

_ANONYMOUS: Final = frozenset(("manifest-get", "blob-get", "blob-head", "tags"))
_NOBODY: Final = f"Basic {base64.b64encode(b':').decode()}"  # what some clients show when they have no password
_IMAGE: Final = [api.ImageIdentifier()]

# What each act is by the API. The requests are only judged, by account and name; they are not carried out.
_ASKED: Final[dict[Doing, Callable[[str, str], Request]]] = {
    "upload-start": lambda account, name: api.InitiateLayerUploadRequest(registry_id=account, repository_name=name),
    "upload-part": lambda account, name: api.UploadLayerPartRequest(
        registry_id=account, repository_name=name, upload_id="", part_first_byte=0, part_last_byte=0, layer_part_blob=b""
    ),
    "upload-complete": lambda account, name: api.CompleteLayerUploadRequest(
        registry_id=account, repository_name=name, upload_id="", layer_digests=[]
    ),
    "manifest-put": lambda account, name: api.PutImageRequest(registry_id=account, repository_name=name, image_manifest=""),
    "delete": lambda account, name: api.BatchDeleteImageRequest(registry_id=account, repository_name=name, image_ids=_IMAGE),
}


class Caller:
    """One request, and whose it is; `granted` is None for whoever shows nothing."""

    __slots__ = ("account", "granted", "identity", "region", "request")

    def __init__(self, request: HttpRequest, granted: Pass | None) -> None:
        self.request = request
        self.granted = granted
        self.identity = anonymous() if granted is None else granted.identity
        self.account = self.identity.account
        self.region = REGION


class PublicGate:
    """engine.registry.gate.Gate of ECR Public."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._passwords = authorization.passwords(cloud)
        self._private = Passwords(cloud, "ecr")

    # who

    async def admit(self, request: HttpRequest) -> Caller:
        header = request.headers.get("authorization")
        if header is None or header == _NOBODY:
            if request.path in ("/v2/", "/v2"):
                raise self._unauthorized(request, "Not Authorized")
            return Caller(request, None)
        granted = self._passwords.verify(header) or (None if request.host[:11].lower() == "public.ecr." else self._private.verify(header))
        if granted is None:
            raise self._unauthorized(request, "Your Authorization Token is invalid.")
        if granted.expires <= self._cloud.clock.time():
            raise self._unauthorized(request, "Your authorization token has expired. Reauthenticate and try again.")
        return Caller(request, granted)

    def _unauthorized(self, request: HttpRequest, message: str) -> Unauthorized:
        return challenge(request, message, service="ecr-public.amazonaws.com", host=registries.registry_host(self._cloud))

    # what they may

    async def enter(self, caller: Caller, repository: str, doing: Doing) -> Rules:
        if doing not in _ANONYMOUS and caller.granted is None:
            raise self._unauthorized(caller.request, "Not Authorized")
        alias, _, name = repository.partition("/")
        registry = self._cloud.store.table(REGISTRIES).find("by_alias", (alias,))
        row = None if registry is None else self._cloud.store.table(REPOSITORIES).get((registry.account, name))
        if registry is not None and doing not in _ANONYMOUS:
            self._judge(caller, registry.account, name, row, doing)
        if row is None:
            raise NameUnknown(repositories.unknown_sentence(alias, name))
        return repositories.rules_of(self._cloud, row)

    def _judge(self, caller: Caller, account: str, name: str, row: PublicRepository | None, doing: Doing) -> None:
        """
        Raises:
            Denied
        """
        authorizer = self._cloud.authorizer
        if authorizer is None or doing not in _ASKED:
            return
        ctx = self._context(caller)
        request = _ASKED[doing](account, name)
        try:
            authorizer.check(ctx, self._cloud.registry.find(request), request)
            if account != ctx.identity.account:
                ctx.admit_outsider(request.operation, arns.repository_arn(ctx, account, name), None if row is None else row.policy)
        except AccessDenied as error:
            raise Denied(error.message) from None

    def _context(self, caller: Caller) -> Context:
        return self._cloud.context(
            identity=caller.identity,
            region=REGION,
            source_ip=caller.request.peer,
            user_agent=caller.request.headers.get("user-agent") or "",
            secure=caller.request.secure,
        )

    def repositories(self, caller: Caller) -> list[str]:
        """The caller's own: nobody is told all that there are."""
        if caller.granted is None:
            raise self._unauthorized(caller.request, "Not Authorized")
        registry = self._cloud.store.table(REGISTRIES).get((caller.account,))
        if registry is None or not registry.alias:
            return []
        return [f"{registry.alias}/{row.name}" for row in self._cloud.store.table(REPOSITORIES).scan((registry.account,))]

    # pulls

    async def missing(self, caller: Caller, rules: Rules, reference: str) -> None:
        """Nothing is behind these repositories."""

    def pulled(self, caller: Caller, rules: Rules, image: ImageRow) -> None:
        """AWS tells nobody when a public image was pulled."""

    # mounts

    def mountable(self, caller: Caller, rules: Rules, digest: str, source: str) -> bool:
        """From any public repository that is named, for all may read it; without a name from one of the same registry."""
        registry, blobs = rules.repository.registry, self._cloud.store.table(BLOBS)
        if not source:
            return any(blob.registry == registry for blob in blobs.scan((digest,), index="by_digest", limit=100))
        alias, _, name = source.partition("/")
        found = self._cloud.store.table(REGISTRIES).find("by_alias", (alias,))
        return found is not None and blobs.get((registry_of(found.account), name, digest)) is not None
