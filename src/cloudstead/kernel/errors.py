"""Every error that a caller is meant to see.

    ServiceError                    has a code, a status and a message; what a client receives
    ├── <generated>                 services/<name>/api.py: the errors of that service's model
    └── CommonError                 the same for every service; its code may differ between the families of protocols
        ├── AccessDenied            403
        ├── ValidationFailed        400  a constraint of the model does not hold
        ├── MalformedRequest        400  the bytes are not what the protocol asks for
        ├── UnknownOperation        404/400  AWS has no such operation
        ├── NotImplementedHere      501  AWS has it, Cloudstead does not
        ├── Throttled               400
        ├── Unavailable             503
        ├── InternalFailure         500  a bug of ours, with the request id under which it was logged
        └── AuthenticationError     403  see below
            ├── MissingAuthentication, InvalidKey, ExpiredToken, InvalidToken,
            └── BadSignature, SignatureExpired, IncompleteSignature

Anything else that a handler raises is a bug: it is logged and shown as InternalFailure.
Codes: https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html and the same page of the JSON services.
"""

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """An error with the code, status and members that AWS's model gives it."""

    code: ClassVar[str] = "InternalFailure"
    status: ClassVar[int] = 400
    fault: ClassVar[str] = "client"  # "client" or "server"
    query_code: ClassVar[str] = ""  # the awsQueryCompatible code, where it differs
    shape: ClassVar[str] = ""  # the name of the model's shape; empty when it has none
    members: ClassVar[tuple[str, ...]] = ()  # snake_case names of the modelled members besides the message

    def __init__(self, message: str = "", **members: object) -> None:
        super().__init__(message)
        self.message = message
        for name in self.members:
            setattr(self, name, members.pop(name, None))
        if members:
            raise TypeError(f"{type(self).__name__} has no member {', '.join(members)}")


class CommonError(ServiceError):
    """An error that any service may answer. `code` is what the XML protocols say, `json_code` what the JSON and CBOR ones say."""

    json_code: ClassVar[str] = "InternalFailure"


class AccessDenied(CommonError):
    code, json_code, status = "AccessDenied", "AccessDeniedException", 403


class ValidationFailed(CommonError):
    code, json_code = "ValidationError", "ValidationException"


class MalformedRequest(CommonError):
    code, json_code = "MalformedInput", "SerializationException"


class UnknownOperation(CommonError):
    code, json_code = "InvalidAction", "UnknownOperationException"


class NotImplementedHere(CommonError):
    code, json_code, status, fault = "NotImplemented", "NotImplemented", 501, "server"


class Throttled(CommonError):
    code, json_code = "Throttling", "ThrottlingException"


class Unavailable(CommonError):
    code, json_code, status, fault = "ServiceUnavailable", "ServiceUnavailableException", 503, "server"


class InternalFailure(CommonError):
    code, json_code, status, fault = "InternalFailure", "InternalFailure", 500, "server"


class AuthenticationError(CommonError):
    status = 403


class MissingAuthentication(AuthenticationError):
    code, json_code = "MissingAuthenticationToken", "MissingAuthenticationTokenException"


class InvalidKey(AuthenticationError):
    code, json_code = "InvalidClientTokenId", "UnrecognizedClientException"


class InvalidToken(AuthenticationError):
    code, json_code = "InvalidClientTokenId", "UnrecognizedClientException"


class ExpiredToken(AuthenticationError):
    code, json_code = "ExpiredToken", "ExpiredTokenException"


class BadSignature(AuthenticationError):
    code, json_code = "SignatureDoesNotMatch", "InvalidSignatureException"


class SignatureExpired(AuthenticationError):
    code, json_code = "SignatureDoesNotMatch", "InvalidSignatureException"


class IncompleteSignature(AuthenticationError):
    code, json_code, status = "IncompleteSignature", "IncompleteSignatureException", 400
