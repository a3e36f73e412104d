"""Settings that are secrets: kept out of what Ray passes between processes.

Ray keeps the arguments of actors in its tables, and every child inherits the environment. So actors get
the settings without secrets, and the one that needs some reads them from a file in the run directory.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import SecretStr

from cluster.settings import SECRETS, Settings

_ACTORS = SECRETS - {"admin_password"}  # that one is the conductor's alone


def keep(settings: Settings) -> None:
    """Write what actors of this node need, readable by this user alone, before they are made."""
    path = _file(settings)
    path.unlink(missing_ok=True)
    values = {name: _plain(getattr(settings, name)) for name in _ACTORS}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(values, file)


def without(settings: Settings) -> Settings:
    """Return the settings as they may be passed on."""
    return settings.model_copy(update=dict.fromkeys(SECRETS))


def complete(settings: Settings) -> Settings:
    """Return the settings with the secrets that ``keep`` wrote; as they are where it wrote none."""
    try:
        values = json.loads(_file(settings).read_text())
    except FileNotFoundError:
        return settings
    fields = Settings.model_fields
    typed = {
        name: SecretStr(value)
        if value is not None and "SecretStr" in str(fields[name].annotation)
        else value
        for name, value in values.items()
        if name in _ACTORS
    }
    return settings.model_copy(update=typed)


def _file(settings: Settings) -> Path:
    return settings.data_dir / "run" / "secrets.json"


def _plain(value: SecretStr | str | None) -> str | None:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
