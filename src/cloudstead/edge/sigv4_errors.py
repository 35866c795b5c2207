"""What AWS answers to signatures that are wrong, where kernel.errors has no class for it: mostly S3, whose codes are its own, also for throttling.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from typing import ClassVar

from cloudstead.kernel.errors import (
    AuthenticationError,
    ExpiredToken,
    IncompleteSignature,
    InvalidKey,
    InvalidToken,
    MissingAuthentication,
    Throttled,
)


class _WithText(AuthenticationError):
    text: ClassVar[str] = ""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.text)


class RequestTimeTooSkewed(_WithText):
    code, json_code = "RequestTimeTooSkewed", "RequestTimeTooSkewed"
    text = "The difference between the request time and the current time is too large."


class RequestExpired(_WithText):
    """A presigned URL before or after its time."""

    code, json_code = "AccessDenied", "AccessDeniedException"
    text = "Request has expired"


class HeadersNotSigned(_WithText):
    code, json_code = "AccessDenied", "AccessDeniedException"
    text = "There were headers present in the request which were not signed"


class HeaderMalformed(_WithText):
    code, json_code, status = "AuthorizationHeaderMalformed", "IncompleteSignatureException", 400


class PayloadHashInvalid(_WithText):
    """x-amz-content-sha256 is nothing that it can be."""

    code, json_code, status = "InvalidArgument", "InvalidSignatureException", 400


class QueryParametersError(_WithText):
    code, json_code, status = "AuthorizationQueryParametersError", "IncompleteSignatureException", 400


class ContentHashMismatch(_WithText):
    code, json_code, status = "XAmzContentSHA256Mismatch", "XAmzContentSHA256Mismatch", 400
    text = "The provided 'x-amz-content-sha256' header does not match what was computed."


class UnknownToS3(_WithText):
    """A key that there is not."""

    code, json_code = "InvalidAccessKeyId", "UnrecognizedClientException"
    text = "The AWS Access Key Id you provided does not exist in our records."


class InvalidS3Token(_WithText):
    code, json_code, status = "InvalidToken", "UnrecognizedClientException", 400
    text = "The provided token is malformed or otherwise invalid."


class ExpiredS3Token(_WithText):
    code, json_code, status = "ExpiredToken", "ExpiredTokenException", 400
    text = "The provided token has expired."


class AnonymousToS3(_WithText):
    """An unsigned request is one of anybody, and nothing here is open to anybody."""

    code, json_code = "AccessDenied", "AccessDeniedException"
    text = "Access Denied"


def as_s3_says(error: AuthenticationError) -> AuthenticationError:
    """S3's own answer where it differs from the other services'."""
    other = _OF_S3.get(type(error))
    return other() if other is not None else error


class UnsupportedSignature(IncompleteSignature):
    """A scheme that AWS has or had and Cloudstead does not verify: SigV4a, SigV2."""


class ChunkMalformed(_WithText):
    """An aws-chunked body whose framing or declared length is wrong."""

    code, json_code, status = "IncompleteBody", "IncompleteBody", 400
    text = "The request body terminated unexpectedly"


class ChecksumMismatch(_WithText):
    """A checksum that the body does not have."""

    code, json_code, status = "BadDigest", "BadDigest", 400


class DigestMalformed(_WithText):
    code, json_code, status = "InvalidDigest", "InvalidDigest", 400
    text = "The Content-MD5 you specified was invalid."


class TrailerMalformed(_WithText):
    """Trailers that x-amz-trailer does not announce, or the other way round."""

    code, json_code, status = "MalformedTrailerError", "MalformedTrailerError", 400
    text = "The request contained trailing data that was not well-formed or did not conform to our published schema."


class MissingDecodedLength(_WithText):
    code, json_code, status = "MissingContentLength", "MissingContentLength", 411
    text = "You must provide the Content-Length HTTP header."


class FormUnreadable(_WithText):
    """A POST to a bucket whose body is no form."""

    code, json_code, status = "MalformedPOSTRequest", "MalformedPOSTRequest", 400
    text = "The body of your POST request is not well-formed multipart/form-data."


class FormMalformed(_WithText):
    code, json_code, status = "InvalidArgument", "InvalidArgument", 400


class PolicyMalformed(_WithText):
    code, json_code, status = "InvalidPolicyDocument", "InvalidPolicyDocument", 400


class PolicyRefused(_WithText):
    """A form that is not as its policy wants it."""

    code, json_code = "AccessDenied", "AccessDeniedException"


class EntityTooLarge(_WithText):
    code, json_code, status = "EntityTooLarge", "EntityTooLarge", 400
    text = "Your proposed upload exceeds the maximum allowed size"


class EntityTooSmall(_WithText):
    code, json_code, status = "EntityTooSmall", "EntityTooSmall", 400
    text = "Your proposed upload is smaller than the minimum allowed size"


class SlowDown(Throttled):
    """What S3 calls it."""

    code, json_code, status, fault = "SlowDown", "SlowDown", 503, "server"

    def __init__(self, message: str = "Please reduce your request rate.") -> None:
        super().__init__(message)


_OF_S3: dict[type[AuthenticationError], type[_WithText]] = {
    MissingAuthentication: AnonymousToS3,
    InvalidKey: UnknownToS3,
    InvalidToken: InvalidS3Token,
    ExpiredToken: ExpiredS3Token,
}
