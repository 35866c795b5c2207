"""What AWS answers to signatures that are wrong, where kernel.errors has no class for it: mostly S3, whose codes are its own.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from typing import ClassVar

from cloudstead.kernel.errors import AuthenticationError, IncompleteSignature


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


class UnsupportedSignature(IncompleteSignature):
    """A scheme that AWS has or had and Cloudstead does not verify: SigV4a, SigV2."""


class ChunkMalformed(_WithText):
    """An aws-chunked body whose framing or declared length is wrong."""

    code, json_code, status = "IncompleteBody", "IncompleteBody", 400
    text = "The request body terminated unexpectedly"


class ChecksumMismatch(_WithText):
    """A trailing checksum that the body does not have."""

    code, json_code, status = "BadDigest", "BadDigest", 400


class TrailerMalformed(_WithText):
    """Trailers that x-amz-trailer does not announce, or the other way round."""

    code, json_code, status = "MalformedTrailerError", "MalformedTrailerError", 400
    text = "The request contained trailing data that was not well-formed or did not conform to our published schema."


class MissingDecodedLength(_WithText):
    code, json_code, status = "MissingContentLength", "MissingContentLength", 411
    text = "You must provide the Content-Length HTTP header."
