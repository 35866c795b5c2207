"""A pull through the cache: what a registry does not have yet is fetched from the upstream registry, kept, and served from here from then on.

    an image by digest      fetched when it is not here
    an image by tag         fetched when it is not here; looked up again (HEAD) when that was more than a day ago, and fetched if it stands for another
    an index                is kept alone. Its images come when they are asked for, which AWS does not wait with

What is here is served when the upstream registry cannot be reached or refuses. All of an image is here before its manifest is answered: layers are
streamed into the content store, and checked against their digests.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace

from cloudstead.engine.errors import EngineError, NotFound, Unauthorized, Unavailable
from cloudstead.engine.images import digests
from cloudstead.engine.images.api import Descriptor
from cloudstead.engine.images.fetching import Recipient
from cloudstead.engine.images.remote import RemoteRepository
from cloudstead.engine.registry import manifests
from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.errors import RegistryError, TagImmutable
from cloudstead.engine.registry.gate import Put, Rules
from cloudstead.engine.registry.manifests import Parsed
from cloudstead.engine.registry.model import BLOBS, Repository
from cloudstead.engine.threads import in_thread
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import AccessDenied, ServiceError
from cloudstead.kernel.operations import Operation
from cloudstead.kernel.store import Transaction
from cloudstead.services.ecr import api, arns, creation_templates, events, pushes, repositories, upstream_credentials, upstreams
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.controller import part
from cloudstead.services.ecr.fetches import Wanted
from cloudstead.services.ecr.model import REPOSITORIES, PullThroughRule, RepositoryRow, registry_of
from cloudstead.services.ecr.pull_through_cache import rule_for
from cloudstead.services.ecr.upstreams import Upstream

log = logging.getLogger("cloudstead.ecr")

DAY = 24 * 3600.0
LONG = 64 << 10  # bytes of a manifest that a thread reads
_REFERENCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,299}|[a-z0-9+._-]+:[0-9a-f]{32,128}", re.ASCII)
AFTER_FAILURE = 300.0  # seconds for which a registry that could not be asked about a tag is left alone


async def fetch(ctx: Context, name: str, reference: str) -> None:
    """Have an image here that is about to be read, if a rule stands for its repository. When there is none upstream either, nothing happens.

    Args:
        ctx: the call, in the account whose registry it is about.

    Raises:
        UnableToGetUpstreamImageException, UnableToGetUpstreamLayerException, SecretNotFoundException, UnableToAccessSecretException,
        UnableToDecryptSecretValueException, LimitExceededException, AccessDenied
    """
    rule = rule_for(ctx, name)
    if rule is None or not _REFERENCE.fullmatch(reference):
        return
    wanted = Wanted(ctx.account, ctx.region, name, reference)
    pull = Pull(ctx, rule, name, reference)
    if not pull.needed(part(ctx).fetches.due(wanted)):
        return
    try:
        pull.require_permission()
        await part(ctx).fetches.share(wanted, pull.run)
    except (ServiceError, RegistryError):
        if not pull.is_here:
            raise


def failure_code(error: ServiceError) -> api.ImageFailureCode:
    """What `fetch` raised, for the operation whose answer names what is wrong with each image."""
    cause = error.__cause__
    if isinstance(error, AccessDenied) or isinstance(cause, Unauthorized):
        return "UpstreamAccessDenied"
    if isinstance(cause, Unavailable) and ("toomanyrequests" in cause.message or "429" in cause.message):
        return "UpstreamTooManyRequests"
    return "UpstreamUnavailable"


class Pull:
    """One image, by tag or digest."""

    def __init__(self, ctx: Context, rule: PullThroughRule, name: str, reference: str) -> None:
        upstream = upstreams.parse(rule.upstream_url)
        assert upstream is not None  # it was when the rule was made
        self._ctx = ctx
        self._rule = rule
        self._name = name
        self._reference = reference
        self._upstream: Upstream = upstream
        self._place = Repository(registry_of(ctx.account, ctx.region), name)
        self._catalog: Catalog = catalog(ctx)

    @property
    def is_here(self) -> bool:
        return self._catalog.resolve(self._place, self._reference) is not None

    @property
    def _by_tag(self) -> bool:
        return ":" not in self._reference

    def needed(self, due: float | None) -> bool:
        if not self.is_here:
            return True
        standing = self._catalog.tag(self._place, self._reference) if self._by_tag else None
        return standing is not None and self._ctx.now() >= (standing.tagged + DAY if due is None else due)

    def require_permission(self) -> None:
        """To bring an image in, and to make its repository.

        Raises:
            AccessDenied
        """
        self._require("BatchImportUpstreamImage")
        if self._row() is None:
            self._require("CreateRepository")

    def _require(self, name: str) -> None:
        ctx, action = self._ctx, f"ecr:{name}"
        request = api.BatchGetImageRequest(registry_id=ctx.account, repository_name=self._name, image_ids=[])
        policy = arns.registry_policy_of(ctx, ctx.account, action)
        arn = arns.repository_arn(ctx, ctx.account, self._name)
        if ctx.cloud.authorizer is not None:
            ctx.cloud.authorizer.check(ctx, _judged(name, arn, policy), request)
        repositories.admit_outsider(ctx, ctx.account, arn, action)

    def _row(self) -> RepositoryRow | None:
        found: RepositoryRow | None = self._ctx.table(REPOSITORIES).get((self._ctx.account, self._ctx.region, self._name))
        return found

    # fetching

    async def run(self) -> None:
        """Once for all who want it."""
        path = upstreams.upstream_name(self._rule.prefix, self._rule.upstream_prefix, self._name)
        try:
            credentials = await upstream_credentials.credentials_of(self._ctx, self._rule, self._upstream)
            remote = self._catalog.images.remote(self._upstream.domain, path, credentials)
            if not await self._is_current(remote):
                await self._bring(remote)
        except NotFound:
            self._look_again(DAY)  # gone over there; what is here stays
        except (EngineError, ServiceError) as error:
            self._look_again(AFTER_FAILURE)
            self._tell_failure(error.message)
            if isinstance(error, ServiceError):
                raise
            raise api.UnableToGetUpstreamImageException(
                f"The image '{path}' could not be pulled from the upstream registry {self._rule.upstream_url}: {error.message}"
            ) from error
        else:
            self._look_again(DAY)

    def _look_again(self, after: float) -> None:
        if self._by_tag:
            wanted = Wanted(self._ctx.account, self._ctx.region, self._name, self._reference)
            part(self._ctx).fetches.remember(wanted, self._ctx.now() + after)

    async def _is_current(self, remote: RemoteRepository) -> bool:
        """Whether a tag that is here stands for the same over there; asked for without the manifest."""
        standing = self._catalog.tag(self._place, self._reference) if self._by_tag else None
        return standing is not None and await remote.digest_of(self._reference) == standing.digest

    async def _bring(self, remote: RemoteRepository) -> None:
        data, media_type = await remote.manifest(self._reference)
        parsed = await in_thread(manifests.read, data, media_type) if len(data) > LONG else manifests.read(data, media_type)
        digest = digests.of(data) if self._by_tag else self._reference
        rules = self._rules(creation_templates.create_by(self._ctx, self._name, "PULL_THROUGH_CACHE"))
        own = [blob for blob in _blobs(parsed) if self._catalog.blob(self._place, blob.digest) is None]
        with self._catalog.content.lease(digest, *(blob.digest for blob in own)):
            try:
                await remote.fetch(own, Recipient(self._place.registry, self._is_known))
            except EngineError as error:
                raise api.UnableToGetUpstreamLayerException(
                    f"A layer of the image '{self._name}' could not be pulled from the upstream registry {self._rule.upstream_url}: {error.message}"
                ) from error
            await self._catalog.link(self._place, *((blob.digest, blob.size) for blob in own))
            await self._put(rules, data, media_type, digest)

    def _is_known(self, digest: str) -> bool:
        """Whether this registry has a blob: what another account keeps here does not count."""
        rows = self._catalog.store.table(BLOBS).scan((digest,), index="by_digest")
        return any(row.registry == self._place.registry for row in rows)

    async def _put(self, rules: Rules, data: bytes, media_type: str, digest: str) -> None:
        try:
            await self._catalog.put(rules, data, media_type, digest=digest, tag=self._reference if self._by_tag else "")
        except TagImmutable:  # the repository's setting counts for the cache too: the tag stays where it was
            log.info("the tag %s of %s has moved upstream, and is immutable here", self._reference, self._name)

    def _rules(self, row: RepositoryRow) -> Rules:
        """No client has pushed: another event tells of it."""
        rules = pushes.without(self._ctx.cloud, row, "events")

        def also(tx: Transaction, put: Put) -> None:
            if rules.also is not None:
                rules.also(tx, put)
            tx.emit(
                events.pull_through(
                    row,
                    self._ctx.now(),
                    prefix=self._rule.prefix,
                    upstream=self._rule.upstream_url,
                    tag=put.tag,
                    digest=put.image.digest,
                )
            )

        return replace(rules, also=also, sparse=True)

    def _tell_failure(self, why: str) -> None:
        row = self._row() or RepositoryRow(account=self._ctx.account, region=self._ctx.region, name=self._name, created=0.0)
        by_tag = self._by_tag
        event = events.pull_through(
            row,
            self._ctx.now(),
            prefix=self._rule.prefix,
            upstream=self._rule.upstream_url,
            tag=self._reference if by_tag else "",
            digest="" if by_tag else self._reference,
            failure=why,
        )
        with self._ctx.transaction() as tx:
            tx.emit(event)


def _blobs(parsed: Parsed) -> list[Descriptor]:
    """Foreign layers stay where their URLs say."""
    own = [layer for layer in parsed.layers if not layer.urls]
    return own if parsed.config is None else [parsed.config, *own]


async def _never(ctx: Context, request: api.BatchGetImageRequest) -> api.BatchGetImageResponse:
    raise AssertionError("a permission, not an operation")


def _judged(name: str, arn: str, policy: str | None) -> Operation:
    """A permission that no operation of the API stands for, in the form in which permissions are judged."""
    return Operation(
        service="ecr",
        name=name,
        action=f"ecr:{name}",
        request=api.BatchGetImageRequest,
        response=api.BatchGetImageResponse,
        handler=_never,
        resource=arn,
        resource_policy=lambda ctx, request: policy,
    )
