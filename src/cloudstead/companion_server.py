"""The companion process: moto behind a unix socket. Run by `cloudstead.edge.companion.process`, never by a person.

    python -m cloudstead.companion_server SOCKET_DESCRIPTOR

It lives exactly as long as the daemon: standard input is a pipe whose other end the daemon holds, so the end of it is the end of the daemon, and
the kernel is asked to send SIGTERM as well should the daemon die while this process is still importing. It writes `ready` on standard output
once it accepts connections.

Two kinds of requests come in, told apart by a header that the daemon sets and no client can:
    x-cloudstead-companion: proxy    a client's request; account in x-moto-account-id, which moto itself understands, region and operation
                                     in x-cloudstead-region and x-cloudstead-operation, which are taken for what policies were asked about
    x-cloudstead-companion: call     a call that a native service makes, as msgpack; answered by botocore in this process

Only this module and companion_amendments import moto and botocore; the daemon must stay small.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeAlias

# moto reads its settings while it is imported.
os.environ.update(
    {
        "MOTO_ALLOW_NONEXISTENT_REGION": "true",  # a region that moto does not know is an empty region, not an exception
        "MOTO_DISABLE_GLOBAL_CORS": "true",  # which web pages may read answers is the edge's decision
        "MOTO_EVENTS_INVOKE_HTTP": "false",
        "MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS": "false",  # as AWS does for buckets without a policy
        "S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true",  # the daemon has put a bucket's host name into the path
        "AWS_EC2_METADATA_DISABLED": "true",
    }
)

import msgspec
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError, UnknownServiceError
from botocore.model import OperationNotFoundError
from botocore.session import Session
from moto.core.responses import BaseResponse
from moto.core.utils import get_service_model
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.test import EnvironBuilder, run_wsgi_app

from cloudstead.companion_amendments import AMENDMENTS

log = logging.getLogger("companion")
Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
WsgiApp: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

PR_SET_PDEATHSIG = 1  # sys/prctl.h
_FORM = "application/x-www-form-urlencoded"
_MISSING_ACTION = re.compile(r"The (\S+) action has not been implemented")


class Dispatcher(DomainDispatcherApplication):
    """moto's choice of a backend, without its own control pages and instance metadata: here those paths are buckets like any others."""

    def get_application(self, environ: Environ) -> Any:
        host = self.infer_service_region_host(environ, environ.get("PATH_INFO", "")) or "s3.us-east-1.amazonaws.com"
        with self.lock:
            backend = self.get_backend_for_host(host)
            if backend is None:
                raise NotImplementedError(f"{host.partition('.')[0]} is not available in Cloudstead yet.")
            app = self.app_instances.get(backend)
            if app is None:
                AMENDMENTS.get(backend, lambda: None)()
                app = self.app_instances[backend] = self.create_app(backend)
            return app


def carry_out_what_was_judged() -> None:
    """Make moto take operation and region as the daemon says them. By itself it would also look into headers, query strings and bodies, in an order of
    its own, and could find others than policies were asked about. Inner calls say nothing, and are as before.
    """
    found_operation, found_region = BaseResponse._get_action, BaseResponse.get_region_from_url

    def operation(response: BaseResponse) -> str:
        said = response.headers.get("x-cloudstead-operation")
        if said is None or (said == "-" and not _is_rest(response)):  # who does not name an operation may do all
            return found_operation(response)
        return said if said != "-" else response._get_action_from_method_and_request_uri(response.normalized_request)

    def region(response: BaseResponse, request: Any, url: str) -> str:
        return request.headers.get("x-cloudstead-region") or found_region(response, request, url)

    setattr(BaseResponse, "_get_action", operation)  # noqa: B010  (mypy refuses the plain assignment)
    setattr(BaseResponse, "get_region_from_url", region)  # noqa: B010


def _is_rest(response: BaseResponse) -> bool:
    try:
        return bool(get_service_model(response.boto3_service_name).metadata["protocol"].startswith("rest-"))
    except UnknownServiceError:
        return False


class Companion:
    """The WSGI application: moto, with errors that AWS's clients understand, and the inner calls."""

    def __init__(self, moto: WsgiApp) -> None:
        self._moto = moto
        self._calls = Calls(self._answer)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        kind = environ.get("HTTP_X_CLOUDSTEAD_COMPANION")
        if kind == "call":
            body = self._calls.answer(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
            start_response("200 OK", [("Content-Type", "application/msgpack"), ("Content-Length", str(len(body)))])
            return [body]
        if kind == "health":
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]
        if kind != "proxy":
            start_response("403 Forbidden", [("Content-Length", "0")])
            return []
        return self._answer(environ, start_response)

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            if _is_s3(environ) and environ.get("CONTENT_TYPE", "").startswith(_FORM):
                # curl --data-binary says this; moto would take the object for fields of a form, and those before the query string.
                environ["CONTENT_TYPE"] = "binary/octet-stream"
            return self._moto(environ, self._watched(environ, start_response))
        except NotImplementedError as error:
            return _error(environ, start_response, 501, "NotImplemented", _sentence(str(error)))
        except OperationNotFoundError as error:  # nor has AWS
            code = "UnknownOperationException" if "HTTP_X_AMZ_TARGET" in environ else "InvalidAction"
            return _error(environ, start_response, 400, code, f"Could not find operation {error}")
        except Exception as error:
            # moto trips over what it was not written for, such as a parameter that is missing: it cannot do this call.
            log.exception("%s %s %s failed", environ.get("REQUEST_METHOD"), environ.get("PATH_INFO"), environ.get("HTTP_X_AMZ_TARGET", ""))
            sentence = f"moto, which answers for this service, cannot deal with this call ({type(error).__name__}); the log has more."
            return _error(environ, start_response, 501, "NotImplemented", sentence)

    @staticmethod
    def _watched(environ: Environ, start_response: StartResponse) -> StartResponse:
        """Make moto's `no such page` what it is: an operation that is not there."""

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            html = any(name.lower() == "content-type" and value.startswith("text/html") for name, value in headers)
            if status[:3] in ("404", "405") and html and ("HTTP_X_AMZ_TARGET" in environ or not _is_s3(environ)):
                raise NotImplementedError(f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')}")
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        return start


def _is_s3(environ: Environ) -> bool:
    return "/s3/aws4_request" in environ.get("HTTP_AUTHORIZATION", "/s3/aws4_request")


def _sentence(reason: str) -> str:
    """What is not there, in the words that the daemon uses for its own services."""
    action = _MISSING_ACTION.search(reason)
    if action is None:
        return reason if reason.endswith(".") else f"Not available in Cloudstead yet: {reason or 'this operation'}."
    return f"{''.join(part.title() for part in action[1].split('_'))} is not available in Cloudstead yet."


def _error(environ: Environ, start_response: StartResponse, status: int, code: str, message: str) -> list[bytes]:
    """An error in the shape of the protocol that the request seems to speak."""
    if "HTTP_X_AMZ_TARGET" in environ or "json" in environ.get("CONTENT_TYPE", ""):
        body = msgspec.json.encode({"__type": code, "message": message})
        content = "application/x-amz-json-1.1"
    else:
        text = message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        inner = f"<Code>{code}</Code><Message>{text}</Message>"
        if _is_s3(environ):
            body = f'<?xml version="1.0" encoding="UTF-8"?><Error>{inner}</Error>'.encode()
        else:
            body = f"<ErrorResponse><Error><Type>Receiver</Type>{inner}</Error></ErrorResponse>".encode()
        content = "text/xml"
    headers = [("Content-Type", content), ("Content-Length", str(len(body))), ("x-amzn-ErrorType", code)]
    start_response(f"{status} {code}", headers)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]


class Call(msgspec.Struct):
    """An inner call: AWS's name of the operation, botocore's parameters."""

    service: str
    operation: str
    parameters: dict[str, Any]
    account: str
    region: str
    host: str  # what URLs in answers name: the daemon's host and port


class Calls:
    """botocore in front of moto without a socket between them."""

    def __init__(self, app: WsgiApp) -> None:
        self._app = app
        self._session = Session()
        self._clients: dict[tuple[str, str, str, str], Any] = {}
        self._lock = threading.Lock()
        self._decoder = msgspec.msgpack.Decoder(Call)

    def answer(self, request: bytes) -> bytes:
        """{"result": …} or {"error": {"code", "message", "status"}}. Timestamps are seconds since the epoch, streams are bytes."""
        call = self._decoder.decode(request)
        try:
            result = self._client(call)._make_api_call(call.operation, call.parameters)
        except ClientError as error:
            fault = error.response["Error"]
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
            return msgspec.msgpack.encode({"error": {"code": fault.get("Code", ""), "message": fault.get("Message", ""), "status": status}})
        except ParamValidationError as error:
            return msgspec.msgpack.encode({"error": {"code": "ValidationError", "message": str(error), "status": 400}})
        except (BotoCoreError, OperationNotFoundError) as error:  # also an unknown service
            return msgspec.msgpack.encode({"error": {"code": "NotImplemented", "message": str(error), "status": 501}})
        result.pop("ResponseMetadata", None)
        return msgspec.msgpack.encode({"result": _plain(result)})

    def _client(self, call: Call) -> Any:
        key = (call.service, call.region, call.account, call.host)
        with self._lock:
            client = self._clients.get(key)
            if client is None:
                client = self._clients[key] = self._make(call)
            return client

    def _make(self, call: Call) -> Any:
        client = self._session.create_client(
            call.service,
            region_name=call.region,
            endpoint_url=f"http://{call.host}",
            aws_access_key_id=call.account,
            aws_secret_access_key="companion",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )
        # A handler of before-send that returns a response takes the place of sending.
        client.meta.events.register("before-send", lambda request, **_: self._send(request, call.account))
        return client

    def _send(self, request: Any, account: str) -> AWSResponse:
        headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()}
        headers["X-Moto-Account-Id"] = account
        body = request.body or b""
        data = body.read() if hasattr(body, "read") else body
        stream = io.BytesIO(data if isinstance(data, bytes) else data.encode())
        host, _, target = request.url.partition("://")[2].partition("/")
        path, _, query = f"/{target}".partition("?")
        builder = EnvironBuilder(
            path, base_url=f"http://{host}", query_string=query, method=request.method, headers=headers, input_stream=stream
        )
        environ = {**builder.get_environ(), "CONTENT_LENGTH": str(len(stream.getvalue()))}
        content, status, answered = run_wsgi_app(self._app, environ, buffered=True)
        raw = io.BytesIO(b"".join(content))
        raw.stream = lambda amt=65536, **_: iter(lambda: raw.read(amt), b"")  # type: ignore[attr-defined]
        return AWSResponse(request.url, int(status.split()[0]), dict(answered.items()), raw)


def _plain(value: Any) -> Any:
    """What msgpack can carry: no datetimes, no streams."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return value.timestamp()
    if hasattr(value, "read"):
        return value.read()
    return value


class RequestHandler(MotoRequestHandler):
    """Without a line for each request: the daemon writes that."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass

    def log(self, type: str, message: str, *arguments: Any) -> None:
        log.log(logging.ERROR if type == "error" else logging.INFO, message, *arguments)


def die_with_parent(path: str) -> None:
    """End when the daemon does, however it ends, and leave no socket behind, nor the folder that was made for it alone."""
    own = os.stat(path).st_ino
    leaving = threading.Lock()

    def leave(*_: object) -> None:
        # The signal and the end of the life-line come together; the second must not end the process in the middle of the first one's work.
        if not leaving.acquire(blocking=False):
            return
        with contextlib.suppress(OSError):
            if os.stat(path).st_ino == own:  # not that of a later daemon
                os.unlink(path)
                os.rmdir(os.path.dirname(path))  # refused when something else is in it: a data directory
        os._exit(0)

    def wait() -> None:
        while os.read(0, 1024):
            pass
        leave()

    signal.signal(signal.SIGTERM, leave)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    threading.Thread(target=wait, name="life-line", daemon=True).start()


def main() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group of a terminal; the daemon decides
    listener = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(listener.getsockname())
    carry_out_what_was_judged()
    app = Companion(Dispatcher(create_backend_app))
    server = make_server(f"unix://{listener.getsockname()}", 0, app, threaded=True, request_handler=RequestHandler, fd=listener.fileno())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
