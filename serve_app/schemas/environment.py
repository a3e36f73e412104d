"""Bodies of variables, secrets and preferences."""

from __future__ import annotations

import zoneinfo
from functools import cache
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, SecretStr, model_validator

from actors.core.records.environment import (
    Binding,
    PreferencesRecord,
    SecretRecord,
    SecretUse,
    VariableRecord,
)
from cluster.egress.binding import MAX_HEADER, MAX_USERNAME, check
from cluster.secrets import naming
from serve_app.schemas.base import Asked, shared

NAME = {"pattern": f"^{naming.NAME}$", "examples": ["API_TOKEN"]}


def _value(text: str) -> str:
    return naming.check_value(text)


def _secret_value(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value():
        raise ValueError("it is empty")
    naming.check_value(secret.get_secret_value())
    return secret


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _time_zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("a time zone of the IANA database, as in Europe/Berlin")
    return name


Host = Annotated[
    str,
    AfterValidator(naming.check_host),
    Field(max_length=naming.MAX_HOST + 6, examples=["api.example.com", "git.example.com:8443"]),
]


class Variable(BaseModel):
    """A variable that new shells and programs find in their environment. Times are Unix seconds."""

    name: str
    value: str
    created_at: float
    updated_at: float

    @classmethod
    def of(cls, record: VariableRecord) -> Variable:
        """Return what is shown of it."""
        return cls(**shared(record, cls))


class Variables(BaseModel):
    """A page of variables, by name; ask again with ``after`` = ``next``."""

    variables: list[Variable]
    next: str | None = None


class NewVariable(Asked):
    """The value of a variable."""

    value: Annotated[
        str,
        AfterValidator(_value),
        Field(max_length=naming.MAX_VALUE, json_schema_extra={"pattern": "^[^\\u0000]*$"}),
    ]


class Secret(BaseModel):
    """A secret; its value is not shown again.

    ``host``: the host whose requests it is for, and programs do not find it. The way out of the workspace
    adds it there as ``use`` says (null: nowhere), by HTTPS or by plain HTTP. ``locked``: the server does not
    have its key (any more), so nobody gets it until it is set anew.
    """

    name: str
    host: str | None
    use: SecretUse | None = None
    username: str | None = None
    header: str | None = None
    https: bool = False
    locked: bool
    created_at: float
    updated_at: float

    @classmethod
    def of(cls, record: SecretRecord, *, locked: bool) -> Secret:
        """Return what is shown of it."""
        bound = record.binding
        how = {} if bound is None else bound.model_dump() | {"username": bound.username or None}
        return cls(locked=locked, **shared(record, cls), **how)


class Secrets(BaseModel):
    """A page of secrets, by name; ask again with ``after`` = ``next``."""

    secrets: list[Secret]
    next: str | None = None


class NewSecret(Asked):
    """The value of a secret; programs find it as a variable, or, with a ``host``, do not find it.

    The way out of the workspace adds it to each request to that host (and port): as ``Authorization: Bearer``
    (``use`` ``bearer``), with a ``username`` as ``Authorization: Basic`` (``basic``), or as it is in a
    ``header`` of your choice (``header``). ``https`` true: to requests by HTTPS (port 443 unless ``host`` has
    one), for which the way out opens the connections to this host and to no other; false: to requests by
    plain HTTP (port 80), which everybody on the way can read.
    """

    value: Annotated[
        SecretStr,
        AfterValidator(_secret_value),
        Field(
            max_length=naming.MAX_VALUE,
            json_schema_extra={"minLength": 1, "pattern": "^[^\\u0000]+$"},
        ),
    ]
    host: Host | None = None
    use: SecretUse = SecretUse.BEARER
    username: Annotated[str, Field(max_length=MAX_USERNAME)] | None = None
    header: Annotated[str, Field(max_length=MAX_HEADER, examples=["X-Api-Key"])] | None = None
    https: bool = False

    @model_validator(mode="after")
    def _fits(self) -> NewSecret:
        """Check what belongs together."""
        how = {"use", "username", "header", "https"} & self.model_fields_set
        if self.host is None and how:
            raise ValueError(f"{', '.join(sorted(how))}: only for a secret with a host")
        if (self.header is not None) != (self.use is SecretUse.HEADER):
            raise ValueError("a header is named for the use header, and for no other")
        if (bound := self.binding) is not None:
            check(bound, self.value.get_secret_value())
        return self

    @property
    def binding(self) -> Binding | None:
        """How it is added to requests."""
        if self.host is None:
            return None
        header = {} if self.header is None else {"header": self.header}
        return Binding(use=self.use, username=self.username or "", https=self.https, **header)


class Preferences(BaseModel):
    """What an account prefers for its workspaces; null: as the server has it."""

    dotfiles_repository: str | None
    shell: str | None
    time_zone: str | None

    @classmethod
    def of(cls, record: PreferencesRecord) -> Preferences:
        """Return what is shown of them."""
        return cls(**shared(record, cls))


class PreferencesChange(Asked):
    """A change of preferences: what is left out stays, null is taken back.

    ``dotfiles_repository`` is cloned to ``~/.dotfiles`` when a new workspace first starts, and its
    ``install.sh``, ``install``, ``bootstrap.sh``, ``bootstrap``, ``setup.sh`` or ``setup`` run; what they
    print is in ``~/.local/state/coditect/dotfiles.log``. ``shell`` is one of the container's
    ``/etc/shells``; where it is not, the usual one starts.
    """

    dotfiles_repository: (
        Annotated[
            str,
            AfterValidator(naming.check_repository),
            Field(
                max_length=naming.MAX_REPOSITORY,
                examples=["https://github.com/ada/dotfiles.git"],
            ),
        ]
        | None
    ) = None
    shell: (
        Annotated[
            str, AfterValidator(naming.check_shell), Field(max_length=128, examples=["/bin/bash"])
        ]
        | None
    ) = None
    time_zone: (
        Annotated[str, AfterValidator(_time_zone), Field(max_length=64, examples=["Europe/Berlin"])]
        | None
    ) = None

    def changes(self) -> dict[str, str | None]:
        """Return what was sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}
