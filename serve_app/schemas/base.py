"""Fields and models that bodies of every subject share."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Asked(BaseModel):
    """A request's body: what it does not know is an error, so that a misspelt field is noticed."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """A problem document (RFC 9457). ``code`` is stable; further members depend on it."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "code": "not_found",
                "detail": "no session 's-abc'",
                "instance": "/api/v1/sessions/s-abc",
            }
        },
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    field: str | None = None
    retry_after: int | None = Field(None, description="seconds after which to try again")
    request_id: str | None = None


class Used(BaseModel):
    """Use of a resource; ``limit`` null: unlimited."""

    used: int
    limit: int | None


def workspace_url(base_url: str, session_id: str) -> str:
    """Return the address of a session's page."""
    return f"{base_url}/workspaces/{session_id}"


def shared(record: BaseModel, body: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a record that a body has under the same name."""
    names = type(record).model_fields.keys() & body.model_fields.keys()
    return {name: getattr(record, name) for name in names}
