"""From a signature to a caller.

Strict: every call must be signed by a key that IAM knows, and the signature must hold.
Not strict (a daemon on loopback): a key that IAM knows must still sign rightly, for a wrong secret is a mistake worth hearing of; a key that
it does not know is taken as the account that it spells (12 digits) or the default account, and an unsigned call as the default account's root.
Where policies are enforced all the same, an unknown key of AWS's own form is refused too: a deleted user must not come back as root.
That is what the peers do, so configurations written for them work unchanged. Pages of other sites in a browser here are not so welcome (`browsers`).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from cloudstead.edge import browsers, sigv2, sigv4
from cloudstead.edge.companion.proxy import bucket_of_host
from cloudstead.edge.post_form import PostForm
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel import identity as identities
from cloudstead.kernel.errors import ExpiredToken, InvalidKey, InvalidToken
from cloudstead.kernel.identity import Credential, CredentialSource, Identity
from cloudstead.kernel.ids import account_of_access_key


class Authenticator:
    """Checks signatures against the keys of a CredentialSource."""

    def __init__(self, credentials: CredentialSource, *, strict: bool, enforcing: bool = False, now: Callable[[], float]) -> None:
        self._credentials = credentials
        self._strict = strict
        self._enforcing = enforcing
        self._now = now

    def admit(self, request: HttpRequest, service: str, signature: sigv4.Signature | None) -> Credential | None:
        """The key with which a call says it is signed; None when it need not be a known one. Told before anything of the body is read.

        Args:
            service: the signing name of the service that is to answer.

        Raises:
            AuthenticationError
        """
        if self._strict:
            signature = sigv4.require_signature(signature)
        if signature is None:
            browsers.refuse_foreign(request)
            return None
        credential = self._credentials.find(signature.access_key_id, signature.token)
        if credential is None:
            if self._strict or (self._enforcing and account_of_access_key(signature.access_key_id) is not None):
                # A session's key is known by its token; S3 has words of its own for one that is not that key's.
                raise (InvalidToken if signature.token else InvalidKey)("The security token included in the request is invalid.")
            browsers.refuse_foreign(request)
            return None
        self._check_token(credential, signature.token)
        sigv4.check_scope(signature, service)
        return credential

    async def identify(
        self,
        request: HttpRequest,
        signature: sigv4.Signature | None,
        credential: Credential | None,
        body: bytes | None,
        form: PostForm | None = None,
    ) -> Identity:
        """Who made this call.

        Args:
            credential: what `admit` returned.
            body: None when it streams: it is then still to be `verified`.
            form: where the signature was, when it was in one.

        Raises:
            AuthenticationError
        """
        if signature is None:
            return identities.root(identities.DEFAULT_ACCOUNT)
        if credential is None:
            return identities.root(spelled_account(signature.access_key_id), signature.access_key_id)
        secret = credential.secret_access_key
        if form is not None:
            form.verify(signature, secret)
        elif signature.date == sigv2.VERSION:
            sigv2.verify(request, signature, secret, self._now(), bucket_of_host(request.host))
        else:
            hashed = None if body is None else await sigv4.body_sha256(body)
            sigv4.verify(request, signature, secret, hashed, self._now())
        self._credentials.used(signature.access_key_id, signature.service, signature.region)
        return credential.identity

    def _check_token(self, credential: Credential, token: str) -> None:
        if not credential.active:
            raise InvalidKey("The security token included in the request is invalid.")
        if not hmac.compare_digest(credential.session_token.encode(), token.encode()):
            raise InvalidToken("The security token included in the request is invalid.")
        if credential.expires_at is not None and credential.expires_at <= self._now():
            raise ExpiredToken("The security token included in the request is expired")


def parse_authorization(request: HttpRequest) -> sigv4.Signature | None:
    """What the request says about its signature; None when it is not signed.

    Raises:
        AuthenticationError: it cannot be read, or is of a kind that is not taken.
    """
    return sigv4.parse_authorization(request) or sigv2.parse(request)


def spelled_account(access_key_id: str) -> str:
    """The account that a made-up key stands for."""
    return access_key_id if len(access_key_id) == 12 and access_key_id.isdigit() and access_key_id.isascii() else identities.DEFAULT_ACCOUNT
