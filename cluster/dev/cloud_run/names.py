"""Names of resources. No I/O."""

from __future__ import annotations

import re
from typing import NamedTuple

from cluster.dev.cloud_run.errors import invalid

LONGEST_ID = 49
_PROJECT = r"[a-z](?:[-a-z0-9]{4,28})[a-z0-9]|[1-9][0-9]*"
_LOCATION = r"[a-z](?:[-a-z0-9]*[a-z0-9])?"
_PARENT = re.compile(rf"projects/({_PROJECT})/locations/({_LOCATION})")
_ID = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")


class Location(NamedTuple):
    """A region of a project."""

    project: str
    region: str

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.region}"


def parse_parent(field: str, parent: str) -> Location:
    """Return what a parent names. Raises ApiError."""
    found = _PARENT.fullmatch(parent)
    if found is None:
        raise invalid(
            field,
            "must have the form projects/{project}/locations/{location}, a region by its name",
        )
    return Location(*found.groups())


def parse_name(field: str, name: str, collection: str) -> Location:
    """Return where a resource of a collection (``services``) lies. Raises ApiError."""
    parent, _, rest = name.partition(f"/{collection}/")
    found = _PARENT.fullmatch(parent)
    if found is None or not rest or "/" in rest:
        raise invalid(
            field,
            f"must have the form projects/{{project}}/locations/{{location}}/{collection}/{{id}}",
        )
    return Location(*found.groups())


def check_id(field: str, value: str) -> None:
    """Check the id of a new resource. Raises ApiError."""
    if not value:
        raise invalid(field, "required field not present.")
    if _ID.fullmatch(value) is None or len(value) > LONGEST_ID:
        raise invalid(
            field,
            "must use only lowercase letters, digits and '-', begin with a letter, not end with"
            f" '-', and have fewer than {LONGEST_ID + 1} characters.",
        )
