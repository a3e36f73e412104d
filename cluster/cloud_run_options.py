"""What operators choose of Cloud Run, as the settings have it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

LONGEST_TIMEOUT = 3600
_PLACE = re.compile(r"([a-z][a-z0-9:.-]{4,62}[a-z0-9])/([a-z]+-[a-z]+[0-9]+)")
_SECRET = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=([A-Za-z0-9_-]{1,255})(?::([0-9]+|latest))?")
_RESERVED = frozenset({"PORT", "CODI_CONFIG", "USER_ID", "FDB_CLUSTER"})


class Shape(StrEnum):
    """What a container is to Cloud Run."""

    SERVICES = "services"
    INSTANCES = "instances"


class Ingress(StrEnum):
    """From where invokers may come."""

    ALL = "all"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class SecretReference:
    """A variable whose value is a secret's version in Secret Manager."""

    variable: str
    secret: str
    version: str = "latest"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A project and a region of it."""

    project: str
    region: str

    def __str__(self) -> str:
        return f"{self.project}/{self.region}"

    @property
    def parent(self) -> str:
        """Its name for Google."""
        return f"projects/{self.project}/locations/{self.region}"


def parse_places(text: str) -> tuple[Place, ...]:
    """Return the places of a list such as ``project/region,project/region``. Raises ValueError."""
    places = []
    for each in filter(None, map(str.strip, text.split(","))):
        match = _PLACE.fullmatch(each)
        if match is None:
            raise ValueError(f"{each!r}: PROJECT/REGION, as my-project/europe-west1")
        places.append(Place(*match.groups()))
    return tuple(dict.fromkeys(places))


def parse_secrets(text: str) -> tuple[SecretReference, ...]:
    """Return the references of a list such as ``NAME=secret:version,…``. Raises ValueError."""
    found = []
    for each in filter(None, map(str.strip, text.split(","))):
        match = _SECRET.fullmatch(each)
        if match is None or match[1] in _RESERVED:
            raise ValueError(f"{each!r}: NAME=SECRET or NAME=SECRET:VERSION, a name of one's own")
        found.append(SecretReference(match[1], match[2], match[3] or "latest"))
    return tuple(found)
