"""Where the keys for secrets are: in the settings, or in a file that the first start makes.

The file is no part of backups: whoever has a backup alone cannot read a secret, and whoever restores one
needs the file. So it is never replaced: without it what was sealed stays sealed, and nothing else is lost.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from actors.core.errors.base import Unavailable
from cluster.own_files import write_once
from cluster.secret_settings import complete
from cluster.secrets.keys import KEY_BYTES, SecretKeys, encode_key
from cluster.settings import Settings

COMPONENT = "the key for secrets"
_LARGEST = 64 << 10
_HEADER = "# Opens the secrets of all users. Not in backups: keep a copy elsewhere.\n"


def key_file(settings: Settings) -> Path:
    """Return where the keys are when no setting has them."""
    return settings.secret_key_file or settings.data_dir / "secret.key"


def load(settings: Settings) -> SecretKeys:
    """Return the keys. Raises Unavailable, InvalidArgument."""
    return SecretKeys.parse(text(settings))


def text(settings: Settings) -> str:
    """Return the keys as they are written, for ``SecretKeys.parse``. Raises Unavailable."""
    given = complete(settings).secret_key
    if given is not None:
        return given.get_secret_value()
    path = key_file(settings)
    try:
        with path.open("r", encoding="ascii", errors="replace") as file:
            return file.read(_LARGEST)
    except OSError as error:
        # Users are told: not where the server has its files.
        reason = f"{path.name}: {error.strerror or error}; see coditect doctor"
        raise Unavailable(COMPONENT, reason) from None


def make(settings: Settings) -> bool:
    """Make a key where there is none yet, readable by this user alone; return whether one was made.

    Raises Unavailable when it cannot be written.
    """
    path = key_file(settings)
    if settings.secret_key is not None or path.exists():
        return False
    try:
        write_once(path, _HEADER + encode_key(secrets.token_bytes(KEY_BYTES)) + "\n")
    except OSError as error:
        raise Unavailable(COMPONENT, f"{path}: {error.strerror or error}") from None
    return True
