"""Connections and API destinations: secrets, states, and requests to a real HTTP server."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError

from support import CloudThread

HERE = "arn:aws:events:us-east-1:000000000000"


class Endpoint(ThreadingHTTPServer):
    """Remembers the requests and answers as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[float, str, str, dict[str, str], bytes]] = []
        self.statuses: list[tuple[int, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.requests.append((time.monotonic(), self.command, self.path, dict(self.headers.items()), body))
        status, headers, answer = 200, {}, b"{}"
        if self.path.startswith("/token"):
            answer = json.dumps({"access_token": f"t{len(self.server.requests)}", "expires_in": 3600}).encode()
        elif self.server.statuses:
            status, headers = self.server.statuses.pop(0)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(answer))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def events(cloud: CloudThread) -> Any:
    return cloud.client("events")


def wait(reached: Any, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def send(
    events: Any, name: str, auth: dict[str, Any], kind: str, url: str, *, method: str = "POST", rate: int = 300, **target: Any
) -> None:
    """Everything from a connection to a rule with one target, and an event."""
    connection = events.create_connection(Name=name, AuthorizationType=kind, AuthParameters=auth)["ConnectionArn"]
    wait(lambda: events.describe_connection(Name=name)["ConnectionState"] == "AUTHORIZED")
    destination = events.create_api_destination(
        Name=name, ConnectionArn=connection, InvocationEndpoint=url, HttpMethod=method, InvocationRateLimitPerSecond=rate
    )
    events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    events.put_targets(
        Rule=name, Targets=[{"Id": "t", "Arn": destination["ApiDestinationArn"], "RoleArn": "arn:aws:iam::000000000000:role/r", **target}]
    )
    put(events, name)


def put(events: Any, name: str) -> None:
    entry = {"Source": name, "DetailType": "Order", "Detail": '{"id": "o/1", "n": 2}'}
    assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0


def test_an_event_is_a_request_with_a_key_and_all_its_parameters(events: Any, endpoint: Endpoint) -> None:
    auth = {
        "ApiKeyAuthParameters": {"ApiKeyName": "x-api-key", "ApiKeyValue": "geheim"},
        "InvocationHttpParameters": {
            "HeaderParameters": [{"Key": "x-from", "Value": "connection"}],
            "QueryStringParameters": [{"Key": "q", "Value": "a b"}],
            "BodyParameters": [{"Key": "extra", "Value": "field", "IsValueSecret": True}],
        },
    }
    asked = {
        "PathParameterValues": ["$.detail.id", "fixed"],
        "HeaderParameters": {"x-from": "target", "x-type": "$.detail-type"},
        "QueryStringParameters": {"n": "$.detail.n"},
    }
    send(events, "key", auth, "API_KEY", endpoint.url + "/orders/*/x/*", method="PUT", HttpParameters=asked, InputPath="$.detail")
    wait(lambda: endpoint.requests)
    _, method, path, headers, body = endpoint.requests[0]
    assert (method, urlsplit(path).path) == ("PUT", "/orders/o%2F1/x/fixed")
    assert parse_qs(urlsplit(path).query) == {"n": ["2"], "q": ["a b"]}
    assert (headers["x-api-key"], headers["x-from"], headers["x-type"]) == ("geheim", "connection", "Order")
    assert headers["User-Agent"] == "Amazon/EventBridge/ApiDestinations"
    assert json.loads(body) == {"id": "o/1", "n": 2, "extra": "field"}


def test_basic_authorization_and_the_whole_event(events: Any, endpoint: Endpoint) -> None:
    auth = {"BasicAuthParameters": {"Username": "ann", "Password": "pass word"}}
    send(events, "basic", auth, "BASIC", endpoint.url + "/hook")
    wait(lambda: endpoint.requests)
    _, _, path, headers, body = endpoint.requests[0]
    assert path == "/hook"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"ann:pass word"
    assert json.loads(body)["source"] == "basic"


def test_a_token_is_fetched_once_and_again_when_it_is_refused(events: Any, endpoint: Endpoint) -> None:
    auth = {
        "OAuthParameters": {
            "ClientParameters": {"ClientID": "id", "ClientSecret": "secret"},
            "AuthorizationEndpoint": endpoint.url + "/token",
            "HttpMethod": "POST",
            "OAuthHttpParameters": {"BodyParameters": [{"Key": "scope", "Value": "all"}]},
        }
    }
    endpoint.statuses = [(200, {}), (401, {})]
    send(events, "oauth", auth, "OAUTH_CLIENT_CREDENTIALS", endpoint.url + "/hook")
    wait(lambda: len(endpoint.requests) == 2)
    put(events, "oauth")
    wait(lambda: len(endpoint.requests) == 5)
    assert [path for _, _, path, _, _ in endpoint.requests] == ["/token", "/hook", "/hook", "/token", "/hook"]
    assert parse_qs(endpoint.requests[0][4].decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["id"],
        "client_secret": ["secret"],
        "scope": ["all"],
    }
    assert [request[3].get("Authorization") for request in endpoint.requests] == [None, "Bearer t1", "Bearer t1", None, "Bearer t4"]


def test_an_endpoint_that_asks_for_time_is_given_it_and_a_refusal_is_final(events: Any, endpoint: Endpoint) -> None:
    endpoint.statuses = [(503, {"Retry-After": "2"}), (200, {}), (404, {})]
    send(events, "later", {"BasicAuthParameters": {"Username": "a", "Password": "b"}}, "BASIC", endpoint.url)
    wait(lambda: len(endpoint.requests) == 2)
    assert endpoint.requests[1][0] - endpoint.requests[0][0] >= 1.9
    put(events, "later")
    wait(lambda: len(endpoint.requests) == 3)
    time.sleep(1.5)
    assert len(endpoint.requests) == 3


def test_no_more_calls_are_made_than_the_rate_limit_allows(events: Any, endpoint: Endpoint) -> None:
    send(events, "slow", {"BasicAuthParameters": {"Username": "a", "Password": "b"}}, "BASIC", endpoint.url, rate=10)
    for _ in range(7):
        put(events, "slow")
    wait(lambda: len(endpoint.requests) == 8)
    assert endpoint.requests[-1][0] - endpoint.requests[0][0] >= 0.6


def test_secrets_are_never_shown_again(events: Any) -> None:
    auth = {
        "BasicAuthParameters": {"Username": "ann", "Password": "geheim"},
        "InvocationHttpParameters": {
            "HeaderParameters": [
                {"Key": "a", "Value": "geheim", "IsValueSecret": True},
                {"Key": "b", "Value": "open", "IsValueSecret": False},
            ]
        },
    }
    made = events.create_connection(Name="secrets", AuthorizationType="BASIC", AuthParameters=auth)
    described = events.describe_connection(Name="secrets")
    assert "geheim" not in json.dumps(described, default=str)
    assert described["AuthParameters"]["BasicAuthParameters"] == {"Username": "ann"}
    assert described["AuthParameters"]["InvocationHttpParameters"]["HeaderParameters"][1]["Value"] == "open"
    assert described["SecretArn"].startswith("arn:aws:secretsmanager:us-east-1:000000000000:secret:events!connection/secrets/")
    assert made["ConnectionArn"].startswith(f"{HERE}:connection/secrets/")
    events.update_connection(Name="secrets", AuthParameters={"BasicAuthParameters": {"Username": "bob"}})
    assert events.describe_connection(Name="secrets")["AuthParameters"]["BasicAuthParameters"] == {"Username": "bob"}


def test_connections_and_destinations_live_and_end(events: Any) -> None:
    auth = {"ApiKeyAuthParameters": {"ApiKeyName": "k", "ApiKeyValue": "v"}}
    connection = events.create_connection(Name="life", AuthorizationType="API_KEY", AuthParameters=auth)["ConnectionArn"]
    made = events.create_api_destination(
        Name="life", ConnectionArn=connection, InvocationEndpoint="https://example.com/x", HttpMethod="GET"
    )
    assert made["ApiDestinationState"] == "ACTIVE"
    events.update_api_destination(Name="life", HttpMethod="POST", Description="two")
    described = events.describe_api_destination(Name="life")
    assert (described["HttpMethod"], described["Description"], described["InvocationRateLimitPerSecond"]) == ("POST", "two", 300)
    assert [one["Name"] for one in events.list_api_destinations(ConnectionArn=connection)["ApiDestinations"]] == ["life"]
    assert "life" in [one["Name"] for one in events.list_connections(ConnectionState="AUTHORIZED")["Connections"]]
    assert events.deauthorize_connection(Name="life")["ConnectionState"] == "DEAUTHORIZED"
    assert events.describe_api_destination(Name="life")["ApiDestinationState"] == "INACTIVE"
    events.update_connection(Name="life", AuthParameters=auth)
    assert events.describe_connection(Name="life")["ConnectionState"] == "AUTHORIZED"
    events.delete_connection(Name="life")
    events.delete_api_destination(Name="life")
    for call, sentence in (
        (events.describe_connection, "Failed to describe the connection(s). Connection 'life' does not exist."),
        (events.describe_api_destination, "Failed to describe the api-destination(s). An api-destination 'life' does not exist."),
    ):
        with pytest.raises(ClientError) as refusal:
            call(Name="life")
        assert refusal.value.response["Error"]["Message"] == sentence


def test_a_connection_that_gets_no_token_says_why(events: Any) -> None:
    auth = {
        "OAuthParameters": {
            "ClientParameters": {"ClientID": "id", "ClientSecret": "secret"},
            "AuthorizationEndpoint": "http://127.0.0.1:9/token",
            "HttpMethod": "POST",
        }
    }
    events.create_connection(Name="tokenless", AuthorizationType="OAUTH_CLIENT_CREDENTIALS", AuthParameters=auth)
    wait(lambda: events.describe_connection(Name="tokenless")["ConnectionState"] == "DEAUTHORIZED")
    assert events.describe_connection(Name="tokenless")["StateReason"]


def test_what_cannot_work_is_refused(events: Any) -> None:
    key = {"ApiKeyAuthParameters": {"ApiKeyName": "k", "ApiKeyValue": "v"}}
    basic = {"BasicAuthParameters": {"Username": "a", "Password": "b"}}
    connection = events.create_connection(Name="good", AuthorizationType="API_KEY", AuthParameters=key)["ConnectionArn"]
    for call, parameters, code in (
        (
            events.create_connection,
            {"Name": "good", "AuthorizationType": "API_KEY", "AuthParameters": key},
            "ResourceAlreadyExistsException",
        ),
        (events.create_connection, {"Name": "bad", "AuthorizationType": "API_KEY", "AuthParameters": basic}, "ValidationException"),
        (
            events.create_connection,
            {"Name": "bad", "AuthorizationType": "BASIC", "AuthParameters": basic, "KmsKeyIdentifier": "k"},
            "ValidationException",
        ),
        (
            events.create_api_destination,
            {"Name": "bad", "ConnectionArn": connection[:-1] + "-", "InvocationEndpoint": "https://x", "HttpMethod": "GET"},
            "ResourceNotFoundException",
        ),
        (
            events.create_api_destination,
            {"Name": "bad", "ConnectionArn": connection, "InvocationEndpoint": "ftp://x", "HttpMethod": "GET"},
            "ValidationException",
        ),
    ):
        with pytest.raises(ClientError) as refusal:
            call(**parameters)
        assert refusal.value.response["Error"]["Code"] == code
