"""ec2Query: EC2's own variety of the query protocol.

https://smithy.io/2.0/aws/protocols/aws-ec2-query-protocol.html

Names begin with a capital, lists have no `member` between name and index, answers have no result element, and errors are wrapped otherwise and
worded otherwise: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import ValidationError, convert

from cloudstead.edge.protocols import xml
from cloudstead.edge.protocols.model import Raw, Serializer, ServiceModel, Shape
from cloudstead.edge.protocols.query import FormReaders, QueryProtocol, error_element
from cloudstead.edge.protocols.text import MILLISECONDS, Unreadable
from cloudstead.edge.protocols.validation import Fault, validate
from cloudstead.http.messages import HttpResponse
from cloudstead.kernel.errors import ServiceError, ValidationFailed
from cloudstead.kernel.shapes import Request, Response


class MissingParameter(ValidationFailed):
    code = json_code = "MissingParameter"


class InvalidParameterValue(ValidationFailed):
    code = json_code = "InvalidParameterValue"


class UnknownParameter(ValidationFailed):
    code = json_code = "UnknownParameter"


# What may stand among the parameters besides the operation's own: the call itself and the signature, of version 2 or 4.
_CALL = frozenset(
    {
        "Action",
        "Version",
        "AWSAccessKeyId",
        "Expires",
        "SecurityToken",
        "Signature",
        "SignatureMethod",
        "SignatureVersion",
        "Timestamp",
        "AUTHPARAMS",
    }
)


KNOWN = "a known parameter"


class Ec2Readers(FormReaders):
    def names(self, name: str, reference: Shape, shape: Shape) -> list[str]:
        if "queryName" in reference:
            return [reference["queryName"]]
        name = reference.get("locationName", name)
        return [name[0].upper() + name[1:], name]

    def unknown(self, name: str) -> None:
        if name not in _CALL and not name.startswith("X-Amz-"):
            problem = Unreadable("", KNOWN)
            problem.path.append(name)
            raise problem


class Ec2Protocol(QueryProtocol):
    name: ClassVar[str] = "ec2"
    content_type: ClassVar[str] = "text/xml;charset=UTF-8"
    timestamp_format: ClassVar[str] = MILLISECONDS

    def readers(self, model: ServiceModel) -> FormReaders:
        return Ec2Readers(model)

    def unreadable(self, problem: Unreadable) -> ServiceError:
        if problem.expected == KNOWN:
            return UnknownParameter(f"The parameter {problem.where} is not recognized")
        return InvalidParameterValue(
            f"Value ({problem.text}) for parameter {problem.where} is invalid. The value must be {problem.expected}."
        )

    def build(self, model: ServiceModel, shape: Shape, request_type: type[Request], raw: Raw) -> Request:
        try:
            return convert(raw, request_type)
        except ValidationError as problem:
            raise self._invalid(validate(model, shape, raw), str(problem)) from None

    def _invalid(self, faults: list[Fault], otherwise: str) -> ServiceError:
        """EC2 names one missing parameter, or else what is wrong."""
        missing, wrong = [], []
        for fault in faults:
            parameter = ".".join(part[:1].upper() + part[1:] for part in fault.path.split(".") if part != "member")
            if fault.value == "null":
                missing.append(f"The request must contain the parameter {parameter}")
            else:
                wrong.append(f"Value ({fault.value or '***'}) for parameter {parameter} is invalid. {fault.constraint}")
        return MissingParameter(missing[0]) if missing else InvalidParameterValue("; ".join(wrong) or otherwise)

    def serializer(self, model: ServiceModel, operation: str) -> Serializer:
        namespace = xml.namespace(model.metadata.get("xmlNamespace"))
        start, end = f'<?xml version="1.0" encoding="UTF-8"?>\n<{operation}Response{namespace}><requestId>', f"</{operation}Response>"
        shape = model.output_shape(operation)
        write = None if shape is None else xml.Writers(model, self.timestamp_format).content(shape)[1]
        content_type = self.content_type

        def serialize(response: Response, request_id: str) -> HttpResponse:
            parts = [start, request_id, "</requestId>"]
            if write is not None:
                write(response, parts.append)
            parts.append(end)
            headers = [("x-amzn-RequestId", request_id), ("Content-Type", content_type)]
            return HttpResponse(200, headers, "".join(parts).encode())

        return serialize

    def error(self, model: ServiceModel | None, error: ServiceError, request_id: str) -> HttpResponse:
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors>'
            f"{error_element(model, error, self.timestamp_format, with_type=False)}</Errors><RequestID>{request_id}</RequestID></Response>"
        )
        headers = [("x-amzn-RequestId", request_id), ("Content-Type", self.content_type)]
        return HttpResponse(error.status, headers, body.encode())
