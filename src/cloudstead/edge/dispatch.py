"""One call, from the request's bytes to the answer's.

    identify → admit → read → authenticate → parse → authorise → handle → serialise → settle

Each step is a line of `_native`. What any of them raises as a ServiceError becomes that protocol's error; anything else is a bug of ours: it is
logged with the request id under which the client is shown InternalFailure. No answer, be it an error, leaves before everything that it could have seen
is on disk.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol as TypingProtocol

from cloudstead.edge import post_form, sigv4
from cloudstead.edge.authenticate import Authenticator, parse_authorization
from cloudstead.edge.calllog import CallLog
from cloudstead.edge.companion.needs import Need
from cloudstead.edge.companion.proxy import bucket_of
from cloudstead.edge.identify import Identifier, Target
from cloudstead.edge.procedures import Procedures
from cloudstead.edge.protocols import protocol
from cloudstead.edge.registry_requests import is_for_registry
from cloudstead.edge.sigv4_errors import SlowDown, as_s3_says
from cloudstead.edge.verified import as_described, verified
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel import identity as identities
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import (
    AuthenticationError,
    InternalFailure,
    NotImplementedHere,
    ServiceError,
    Throttled,
    Unavailable,
)
from cloudstead.kernel.identity import Credential
from cloudstead.kernel.ids import request_id

log = logging.getLogger(__name__)

MOST_UNDER_WAY = 4096
"""Calls that are answered at the same time; more are throttled, as AWS does, rather than queued until their clients have given up."""

OWN = "/_cloudstead/"
UNIDENTIFIED = Target("", "", identities.DEFAULT_REGION)
NOBODY = identities.anonymous()

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]


class Companions(TypingProtocol):
    """The part of the edge that passes calls on to the services that are not written here."""

    async def handle(self, request: HttpRequest, service: str, account: str, region: str, operation: str = "") -> HttpResponse: ...

    def needs(self, request: HttpRequest, service: str, operation: str, form_key: str = "") -> list[Need]: ...


class RegistryTold(TypingProtocol):
    """Of a request that a registry has answered: for the log."""

    @property
    def account(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def operation(self) -> str: ...
    @property
    def error(self) -> str: ...
    @property
    def caller(self) -> str: ...


class Registries(TypingProtocol):
    """The registries of images. They have a protocol of their own, in which they refuse, too; nothing is raised."""

    async def __call__(self, request: HttpRequest, request_id: str, *, busy: bool) -> tuple[HttpResponse, RegistryTold]: ...


class Calls:
    """The handler of every AWS call."""

    def __init__(
        self, cloud: Cloud, identifier: Identifier, authenticator: Authenticator, companions: Companions | None, calllog: CallLog
    ) -> None:
        self._cloud = cloud
        self._identifier = identifier
        self._authenticator = authenticator
        self._companions = companions
        self._calllog = calllog
        self._procedures = Procedures(cloud)
        self._under_way = 0
        self._pages: dict[str, Page] = {}  # paths of our own, such as /_cloudstead/health
        self.registries: Registries | None = None
        self.load_balancers: Page | None = None  # answers what asks for a name below elb.localhost

    def page(self, path: str, answer: Page) -> None:
        """Answer a path of our own; AWS has none below /_cloudstead/. One that ends in a slash stands for all that begin with it."""
        self._pages[path] = answer

    def _page(self, path: str) -> Page | None:
        own = self._pages.get(path)
        if own is None and path.startswith(OWN):
            own = self._pages.get(path[: path.find("/", len(OWN)) + 1])
        return own

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        own = self._page(request.path)
        if own is not None:
            return await own(request)
        if self.registries is not None and is_for_registry(request):
            return await self._registry(self.registries, request)
        if self.load_balancers is not None and ".elb.localhost" in request.host:
            return await self.load_balancers(request)
        call = Call(request)
        self._under_way += 1
        failures = self._cloud.store.failures  # what is undone while the call awaits something must not be acknowledged
        try:
            try:
                response = await self._answer(call)
            except Exception as error:
                response = self._refuse(call, error)
            await self._cloud.store.settled(failures)  # an error too tells what it saw: that a name is taken
        except Unavailable as error:
            response = self._refuse(call, error)
        finally:
            self._under_way -= 1
        self._calllog.write(
            call.request_id,
            call.identity.account,
            call.target.region,
            f"{call.target.service or '-'}:{call.target.operation or '-'}",
            response.status,
            time.perf_counter() - call.began,
            call.error,
            call.identity.arn,
        )
        return response

    async def _registry(self, registries: Registries, request: HttpRequest) -> HttpResponse:
        began, number = time.perf_counter(), request_id()
        self._under_way += 1
        try:
            response, told = await registries(request, number, busy=self._under_way > MOST_UNDER_WAY)
        finally:
            self._under_way -= 1
        took = time.perf_counter() - began
        self._calllog.write(number, told.account, told.region, told.operation, response.status, took, told.error, told.caller)
        return response

    async def _answer(self, call: Call) -> HttpResponse:
        request = call.request
        signature = parse_authorization(request)
        if self._under_way > MOST_UNDER_WAY:
            if request.method != "POST":  # of which forms would have to be read first
                call.target = await self._identifier.identify(request, signature)  # each service says it in its own way
            raise Throttled("Rate exceeded")
        call.target = target = await self._identifier.identify(request, signature)
        if target.service in self._cloud.registry.services:
            return await self._native(call, signature)
        return await self._companion(call, signature)

    async def _native(self, call: Call, signature: sigv4.Signature | None) -> HttpResponse:
        request, target = call.request, call.target
        if not target.operation:
            target.route(self._procedures.model(target.service), request)
        procedure = self._procedures.known(target) or await self._procedures.find(target)
        operation = procedure.operation
        anonymous = signature is None and operation.anonymous
        credential = None if anonymous else self._admit(call, signature)
        body = None if procedure.streams_input else await request.read()
        if not anonymous:
            request = await self._authenticate(call, signature, credential, body)
        parsed = procedure.parse(request, request.stream() if body is None else body, target.labels)
        ctx = self._context(call)
        if self._cloud.authorizer is not None:
            self._cloud.authorizer.check(ctx, operation, parsed)
        answer = await operation.handler(ctx, parsed)
        return procedure.serialize(answer, call.request_id)

    async def _companion(self, call: Call, signature: sigv4.Signature | None) -> HttpResponse:
        request, target = call.request, call.target
        if self._companions is None:
            raise NotImplementedHere(f"{target.service} is not available in Cloudstead yet.")
        form = None
        if target.service == "s3" and signature is None and post_form.is_form(request):
            form = post_form.read(request, bucket_of(request), await request.read())
            signature = form.claimed()
        credential = self._admit(call, signature)
        body = None if form is None and target.long_body(request) else await request.read()
        request = await self._authenticate(call, signature, credential, body, form)
        if form is not None and signature is not None:
            form.check(self._cloud.clock.time())
        named = target.operation  # REST services name none
        needs = self._companions.needs(request, target.service, named, form.fields.get("key", "") if form is not None else "")
        target.operation = needs[0].action.partition(":")[2]
        if self._cloud.authorizer is not None:
            ctx = self._context(call)
            for need in needs:
                self._cloud.authorizer.require(ctx, *need)
        if target.service == "s3":
            request = await as_described(request, body)
        return await self._companions.handle(request, target.service, call.identity.account, target.region, named)

    def _admit(self, call: Call, signature: sigv4.Signature | None) -> Credential | None:
        """The key that the call says it was signed with, when it is a known one. Whoever has none to show in strict mode is not read any further."""
        try:
            return self._authenticator.admit(call.request, self._identifier.signing_name(call.target.service), signature)
        except AuthenticationError as error:
            raise (as_s3_says(error) if call.target.service == "s3" else error) from None

    async def _authenticate(
        self,
        call: Call,
        signature: sigv4.Signature | None,
        credential: Credential | None,
        body: bytes | None,
        form: post_form.PostForm | None = None,
    ) -> HttpRequest:
        """Learn who calls; the request to go on with is the same, or one whose long body is checked as it is read."""
        try:
            call.identity = await self._authenticator.identify(call.request, signature, credential, body, form)
        except AuthenticationError as error:
            raise (as_s3_says(error) if call.target.service == "s3" else error) from None
        if body is None and signature is not None and credential is not None:
            return verified(call.request, signature, credential.secret_access_key)
        return call.request

    def _context(self, call: Call) -> Context:
        request = call.request
        return Context(
            self._cloud,
            identity=call.identity,
            account=call.identity.account or identities.DEFAULT_ACCOUNT,
            region=call.target.region,
            request_id_=call.request_id,
            source_ip=request.peer,
            user_agent=request.headers.get("user-agent") or "",
            secure=request.secure,
        )

    def _refuse(self, call: Call, error: Exception) -> HttpResponse:
        target = call.target
        if target is UNIDENTIFIED:
            target = call.target = Target.guess(call.request)
        if not isinstance(error, ServiceError):
            log.exception("request_id=%s %s:%s failed", call.request_id, target.service, target.operation)
            error = InternalFailure(f"An internal error occurred (request id {call.request_id}).")
        if isinstance(error, Throttled) and target.protocol == "rest-xml" and target.service in ("", "s3"):
            error = SlowDown()
        call.error = error.code
        model = self._procedures.model(target.service) if target.service in self._cloud.registry.services else None
        # Without a model, REST-XML is taken for S3; the errors of its other services look like those of the query protocol.
        wire = "query" if model is None and target.protocol == "rest-xml" and target.service not in ("", "s3") else target.protocol
        return protocol(wire).error(model, error, call.request_id)


class Call:
    """What is known of a call so far; it fills on the way."""

    __slots__ = ("began", "error", "identity", "request", "request_id", "target")

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.request_id = request_id()
        self.began = time.perf_counter()
        self.target = UNIDENTIFIED
        self.identity = NOBODY
        self.error = ""
