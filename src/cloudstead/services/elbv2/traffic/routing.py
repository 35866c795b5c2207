"""Which action a request meets: the first rule, by priority, all of whose conditions hold; else the listener's own. Pure functions of rules and request.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-rules.html
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import NamedTuple
from urllib.parse import unquote

from cloudstead.http.messages import Headers
from cloudstead.services.elbv2.model import Action, Condition, Listener, Rule
from cloudstead.services.elbv2.traffic.globs import Glob


class Facts(NamedTuple):
    """What of a request the conditions look at."""

    method: str
    host: str  # without the port
    path: str
    query: str
    headers: Headers
    peer: str


Test = Callable[[Facts], bool]


class Routes:
    """The rules of one listener, compiled."""

    def __init__(self, listener: Listener, rules: Iterable[Rule]) -> None:
        ordered = sorted(rules, key=lambda rule: rule.priority)
        self._rules = [([compiled(each) for each in rule.conditions], rule.action) for rule in ordered]
        self._default = listener.action

    def action(self, facts: Facts) -> Action:
        for tests, action in self._rules:
            if all(test(facts) for test in tests):
                return action
        return self._default


def compiled(one: Condition) -> Test:
    """A condition as a test of requests. Its values are alternatives."""
    if one.field == "path-pattern":
        paths = [Glob(value) for value in one.values]
        return lambda facts: any(each.matches(facts.path) for each in paths)
    if one.field == "host-header":
        hosts = [Glob(value, ignore_case=True) for value in one.values]
        return lambda facts: any(each.matches(facts.host) for each in hosts)
    if one.field == "http-request-method":
        methods = frozenset(one.values)
        return lambda facts: facts.method in methods
    if one.field == "source-ip":
        return _from([ipaddress.ip_network(value) for value in one.values])
    if one.field == "http-header":
        return _header(one.header.lower(), [Glob(value, ignore_case=True, escapes=True) for value in one.values])
    return _query([(_text(key) if key else None, _text(value)) for key, value in one.pairs])


def _text(pattern: str) -> Glob:
    return Glob(pattern, ignore_case=True, escapes=True)


def _from(networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> Test:
    def test(facts: Facts) -> bool:
        try:
            address = ipaddress.ip_address(facts.peer)
        except ValueError:
            return False  # came by a unix socket
        return any(address in network for network in networks if network.version == address.version)

    return test


def _header(name: str, wanted: list[Glob]) -> Test:
    def test(facts: Facts) -> bool:
        return any(each.matches(value) for value in facts.headers.get_all(name) for each in wanted)

    return test


def _query(wanted: list[tuple[Glob | None, Glob]]) -> Test:
    def test(facts: Facts) -> bool:
        for pair in facts.query.split("&"):
            key, _, value = pair.partition("=")
            key, value = unquote(key.replace("+", " ")), unquote(value.replace("+", " "))
            if any((name is None or name.matches(key)) and text.matches(value) for name, text in wanted):
                return True
        return False

    return test


def host_of(authority: str) -> str:
    """A host without its port: "a.example:80", "[::1]:80"."""
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.partition(":")[0]
