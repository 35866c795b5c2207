"""The policy language of IAM: documents, conditions and the decision. Pure: nothing here reads a store, a clock or a socket.

    document.py     text -> Policy, compiled once and kept by its text; MalformedPolicy says what is wrong in AWS's words
    grammar.py      what a document of each kind may and must contain
    patterns.py     wildcards, ARNs and policy variables
    principals.py   who calls, and whom a statement names
    conditions.py   every condition operator
    evaluate.py     AuthorizationRequest + PolicySet -> Decision
    lockout.py      whether a policy would keep its author from setting another
    positions.py    where in a document its statements stand (for the Simulate operations)

A document is turned into closures, sets and regular expressions when it is first seen, and remembers for each action the few statements that
speak of it, so that deciding on a call costs some microseconds.
"""

from __future__ import annotations

from cloudstead.kernel.policy.document import Policy, Statement, parse
from cloudstead.kernel.policy.evaluate import NO_POLICIES, AuthorizationRequest, Decision, Layer, Matched, PolicySet, Source, evaluate
from cloudstead.kernel.policy.grammar import ANY, IDENTITY, MANAGED, RESOURCE, SESSION, TRUST, Kind, MalformedPolicy
from cloudstead.kernel.policy.principals import Principal

__all__ = [
    "ANY",
    "IDENTITY",
    "MANAGED",
    "NO_POLICIES",
    "RESOURCE",
    "SESSION",
    "TRUST",
    "AuthorizationRequest",
    "Decision",
    "Kind",
    "Layer",
    "MalformedPolicy",
    "Matched",
    "Policy",
    "PolicySet",
    "Principal",
    "Source",
    "Statement",
    "evaluate",
    "parse",
]
