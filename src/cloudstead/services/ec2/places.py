"""AWS's regions and their zones."""

from __future__ import annotations

_OPEN = (
    "ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-southeast-1 ap-southeast-2 ca-central-1 eu-central-1 eu-north-1 eu-west-1 eu-west-2 "
    "eu-west-3 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2"
)
_CLOSED = (
    "af-south-1 ap-east-1 ap-east-2 ap-south-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7 ca-west-1 eu-central-2 "
    "eu-south-1 eu-south-2 il-central-1 me-central-1 me-south-1 mx-central-1"
)
REGIONS = dict.fromkeys(_OPEN.split(), "opt-in-not-required") | dict.fromkeys(_CLOSED.split(), "not-opted-in")
LETTERS = "abc"


def zones(region: str) -> list[str]:
    return [region + letter for letter in LETTERS]


def zone_id(zone: str) -> str:
    """us-east-1a is use1-az1: AWS shuffles them for each account, here they are in order."""
    area, *directions = zone[:-1].split("-")
    number = directions.pop() if directions else ""
    short = "".join(
        part.replace("north", "n").replace("south", "s").replace("east", "e").replace("west", "w").replace("central", "c")
        for part in directions
    )
    return f"{area}{short}{number}-az{LETTERS.find(zone[-1]) + 1}"


def zone_of_id(region: str, id: str) -> str | None:
    return next((zone for zone in zones(region) if zone_id(zone) == id), None)
