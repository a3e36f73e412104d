"""The two kinds of values: passed on, and stored."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable value; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Record(BaseModel):
    """A stored value. Unknown fields of a newer schema are kept out, not refused: old code reads on."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    SCHEMA_VERSION: ClassVar[int] = 1
    schema_version: int = 1
