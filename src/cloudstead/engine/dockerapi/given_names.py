"""Names for containers that were given none: an adjective and somebody whose work computers stand on."""

from __future__ import annotations

import secrets
from collections.abc import Callable

ADJECTIVES = """
    able agile amber bold brave breezy bright brisk calm candid careful cheerful clever cosmic crisp curious daring deft dreamy eager earnest easy
    elegant fair fancy fearless festive fond frank free fresh friendly gentle glad golden graceful grand happy hardy honest hopeful humble jolly keen
    kind lively loyal lucid lucky mellow merry mild modest neat nimble noble patient plucky polite proud quick quiet ready serene sharp silent simple
    sincere smart snug sober spry steady stoic sunny swift tender tidy trusty upbeat vivid warm wise witty zesty
""".split()  # noqa: SIM905

PEOPLE = """
    abbate allen babbage backus bartik berners boole borg cerf church clarke cocke codd conway cook corbato cray dahl dijkstra diffie dorsey
    eckert elion engelbart feinler floyd gauss goldberg goldwasser gray hamilton hamming hellman hoare hollerith holberton hopper iverson jennings
    joy kay kernighan kilburn kleinrock knuth lamarr lamport leibniz liskov lovelace mauchly mccarthy mcclintock meitzner micali milner minsky naur
    newell neumann noether nygaard pascal perlis perlman postel ritchie rivest samet shamir shannon shirley simon stallman stonebraker sutherland
    tarjan thompson torvalds turing valiant wilkes wilkinson wirth yao zuse
""".split()  # noqa: SIM905


def random_name(taken: Callable[[str], bool]) -> str:
    """One that is not taken; with a number behind it when chance does not find one."""
    for digits in range(8):
        name = f"{secrets.choice(ADJECTIVES)}_{secrets.choice(PEOPLE)}"
        if digits > 2:
            name += str(secrets.randbelow(10 ** (digits - 2)))
        if not taken(name):
            return name
    return f"{secrets.choice(ADJECTIVES)}_{secrets.choice(PEOPLE)}{secrets.token_hex(4)}"
