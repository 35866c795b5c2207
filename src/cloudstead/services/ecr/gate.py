"""What the registry protocol asks ECR: who calls, which repository, whether they may.

A caller shows the password of GetAuthorizationToken. The registry is the one that the host names, `<account>.dkr.ecr.<region>.…`, else the one that
the token was given for. Whatever a client does by the protocol is judged as the operation of the API that it stands for, so that policies of identities,
repositories and registries count the same on both ways. Here every request of a client comes by, so the usual one (IAM off, own account, repository
there) costs some look-ups.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from cloudstead.engine.registry.errors import (
    Denied,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    RegistryError,
    TooManyRequests,
    Unauthorized,
)
from cloudstead.engine.registry.gate import Doing, Rules
from cloudstead.engine.registry.model import BLOBS, ImageRow
from cloudstead.engine.registry.passwords import Pass, challenge
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import AccessDenied, ServiceError
from cloudstead.kernel.shapes import Request
from cloudstead.services.ecr import (
    addresses,
    api,
    arns,
    authorization,
    creation_templates,
    prefixes,
    pull_times,
    pushes,
    repositories,
    settings,
)
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.model import PULL_THROUGH_RULES, REPOSITORIES, RepositoryRow, registry_of

if TYPE_CHECKING:
    from cloudstead.engine.registry.catalog import Catalog

_MOST_SOURCES: Final = 100  # repositories that are asked when a blob is to be mounted from anywhere
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
_IMAGE: Final = [api.ImageIdentifier()]
_DIGEST: Final = "sha256:"

# What each act is by the API. The requests are only judged, by account and name; they are not carried out.
_ASKED: Final[dict[Doing, Callable[[str, str], Request]]] = {
    "manifest-get": lambda account, name: api.BatchGetImageRequest(registry_id=account, repository_name=name, image_ids=_IMAGE),
    "blob-get": lambda account, name: api.GetDownloadUrlForLayerRequest(registry_id=account, repository_name=name, layer_digest=_DIGEST),
    "blob-head": lambda account, name: api.BatchCheckLayerAvailabilityRequest(registry_id=account, repository_name=name, layer_digests=[]),
    "tags": lambda account, name: api.ListImagesRequest(registry_id=account, repository_name=name),
    "upload-start": lambda account, name: api.InitiateLayerUploadRequest(registry_id=account, repository_name=name),
    "upload-part": lambda account, name: api.UploadLayerPartRequest(
        registry_id=account, repository_name=name, upload_id="", part_first_byte=0, part_last_byte=0, layer_part_blob=b""
    ),
    "upload-complete": lambda account, name: api.CompleteLayerUploadRequest(
        registry_id=account, repository_name=name, upload_id="", layer_digests=[]
    ),
    "manifest-put": lambda account, name: api.PutImageRequest(registry_id=account, repository_name=name, image_manifest=""),
    "delete": lambda account, name: api.BatchDeleteImageRequest(registry_id=account, repository_name=name, image_ids=_IMAGE),
    "catalog": lambda account, name: api.DescribeRepositoriesRequest(registry_id=account),
}
_MAKING: Final = frozenset(("upload-start", "manifest-put"))  # what may create a repository


class Caller:
    """One request: by whom, and to which registry."""

    __slots__ = ("_ctx", "account", "cloud", "identity", "region", "request")

    def __init__(self, cloud: Cloud, request: HttpRequest, granted: Pass) -> None:
        self.cloud = cloud
        self.request = request
        self.identity = granted.identity
        self.account, self.region = addresses.place_of(request.host) or (granted.account, granted.region)
        self._ctx: Context | None = None

    @property
    def ctx(self) -> Context:
        """The call as handlers know it: in the caller's account, in the registry's region."""
        if self._ctx is None:
            self._ctx = self.cloud.context(
                identity=self.identity,
                region=self.region,
                source_ip=self.request.peer,
                user_agent=self.request.headers.get("user-agent") or "",
                secure=self.request.secure,
            )
        return self._ctx

    @property
    def owner(self) -> Context:
        """The same call in the registry's account."""
        return self.ctx if self.account == self.identity.account else self.ctx.replace(identity=self.identity, account=self.account)

    @property
    def is_outsider(self) -> bool:
        return self.account != self.identity.account


class EcrGate:
    """engine.registry.gate.Gate of ECR."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._passwords = authorization.passwords(cloud)

    # who

    async def admit(self, request: HttpRequest) -> Caller:
        header = request.headers.get("authorization")
        if header is None:
            raise self._unauthorized(request, "Not Authorized")
        granted = self._passwords.verify(header)
        if granted is None:
            raise self._unauthorized(request, "Your Authorization Token is invalid.")
        if granted.expires <= self._cloud.clock.time():
            raise self._unauthorized(request, "Your authorization token has expired. Reauthenticate and try again.")
        return Caller(self._cloud, request, granted)

    def _unauthorized(self, request: HttpRequest, message: str) -> Unauthorized:
        return challenge(request, message, service="ecr.amazonaws.com", host=self._cloud.endpoint.partition("://")[2])

    # what they may

    async def enter(self, caller: Caller, repository: str, doing: Doing) -> Rules:
        row = self._cloud.store.table(REPOSITORIES).get((caller.account, caller.region, repository))
        self._judge(caller, row, repository, doing)
        if row is None:
            self._expect(caller, repository, doing)
        return pushes.rules_of(self._cloud, caller.account, caller.region, repository)

    def _judge(self, caller: Caller, row: RepositoryRow | None, name: str, doing: Doing) -> None:
        """
        Raises:
            Denied
        """
        authorizer = self._cloud.authorizer
        if authorizer is None or (authorizer.idle and not caller.is_outsider):
            return
        request = _ASKED[doing](caller.account, name)
        try:
            authorizer.check(caller.ctx, self._cloud.registry.find(request), request)
            if caller.is_outsider:
                arn = arns.repository_arn(caller.ctx, caller.account, name or "*")
                repositories.admit_outsider(caller.ctx, caller.account, arn, request.operation, None if row is None else row.policy)
        except AccessDenied as error:
            raise Denied(error.message) from None

    def _expect(self, caller: Caller, name: str, doing: Doing) -> None:
        """Of a repository that is not there: make it for a push where a template says so; let a pull go on to what is behind the cache.

        Raises:
            NameInvalid, NameUnknown, Denied
        """
        if not 2 <= len(name) <= 256:
            raise NameInvalid("Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must have length of 2 to 256'")
        if not _NAME.fullmatch(name):
            raise NameInvalid(
                f"Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression {_NAME.pattern}'"
            )
        owner = caller.owner
        if doing == "manifest-get" and self._is_cached(caller, name):
            return
        if doing not in _MAKING or creation_templates.template_for(owner, name, "CREATE_ON_PUSH") is None:
            raise _unknown(caller.account, name)
        self._create(caller, owner, name)

    def _create(self, caller: Caller, owner: Context, name: str) -> None:
        request = api.CreateRepositoryRequest(registry_id=caller.account, repository_name=name)
        try:
            if self._cloud.authorizer is not None:
                self._cloud.authorizer.check(caller.ctx, self._cloud.registry.find(request), request)
            repositories.admit_outsider(caller.ctx, caller.account, arns.repository(caller.ctx, request), request.operation)
            creation_templates.create_by(owner, name, "CREATE_ON_PUSH")
        except ServiceError as error:
            raise _translated(error) from None

    def repositories(self, caller: Caller) -> list[str]:
        self._judge(caller, None, "", "catalog")
        return [row.name for row in self._cloud.store.table(REPOSITORIES).scan((caller.account, caller.region))]

    # pulls

    def _is_cached(self, caller: Caller, name: str) -> bool:
        """Whether a repository of this name stands for one of another registry."""
        rules = self._cloud.store.table(PULL_THROUGH_RULES).scan((caller.account, caller.region))
        return any(prefixes.covers(rule.prefix, name) for rule in rules)

    async def missing(self, caller: Caller, rules: Rules, reference: str) -> None:
        if self._is_cached(caller, rules.repository.name):
            await self._fetch(caller, rules, reference)
        image = catalog(caller.ctx).resolve(rules.repository, reference)
        if image is not None and image.status != "ACTIVE":
            raise ManifestUnknown(f"The image with digest '{image.digest}' is archived and cannot be pulled until it is restored")
        if image is None and (caller.account, caller.region, rules.repository.name) not in self._cloud.store.table(REPOSITORIES):
            raise _unknown(caller.account, rules.repository.name)

    async def _fetch(self, caller: Caller, rules: Rules, reference: str) -> None:
        from cloudstead.services.ecr import pulling_through  # speaks HTTP; nobody without a rule needs it

        try:
            await pulling_through.fetch(caller.owner, rules.repository.name, reference)
        except ServiceError as error:
            raise _translated(error) from None

    def pulled(self, caller: Caller, rules: Rules, image: ImageRow) -> None:
        pull_times.note(caller.ctx, caller.account, image)

    # mounts

    def mountable(self, caller: Caller, rules: Rules, digest: str, source: str) -> bool:
        if settings.value_of(caller.ctx, caller.account, "BLOB_MOUNTING") != "ENABLED":
            return False
        registry = registry_of(caller.account, caller.region)
        found: Catalog = catalog(caller.ctx)
        if source:
            return found.store.table(BLOBS).get((registry, source, digest)) is not None and self._readable(caller, source)
        holding = (blob for blob in found.store.table(BLOBS).scan((digest,), index="by_digest") if blob.registry == registry)
        return any(self._readable(caller, blob.repository) for blob in islice(holding, _MOST_SOURCES))

    def _readable(self, caller: Caller, name: str) -> bool:
        row = self._cloud.store.table(REPOSITORIES).get((caller.account, caller.region, name))
        try:
            self._judge(caller, row, name, "blob-get")
        except Denied:
            return False
        return row is not None


def _unknown(account: str, name: str) -> NameUnknown:
    return NameUnknown(f"The repository with name '{name}' does not exist in the registry with id '{account}'")


def _translated(error: ServiceError) -> RegistryError:
    """An error of the API as the protocol says it."""
    kinds: tuple[tuple[Any, type[RegistryError]], ...] = (
        (AccessDenied, Denied),
        (api.LimitExceededException, TooManyRequests),
        (api.RepositoryNotFoundException, NameUnknown),
    )
    made = next((kind for cause, kind in kinds if isinstance(error, cause)), ManifestUnknown)
    return made(error.message)
