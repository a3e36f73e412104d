"""Names the container's user to programs: git's name and address, unless people set their own.

In a file that git reads as the system's (``GIT_CONFIG_SYSTEM``, git(1)), so everything that a person
configures comes before it, and so shells that run already find it, too.
"""

from __future__ import annotations

import contextlib
import os

MAX_EMAIL = 254


def place(container_id: str) -> str:
    """Return where the file lies."""
    return f"/tmp/.coditect-{container_id}/gitconfig"  # noqa: S108 - a container's own


def gitconfig(email: str) -> str:
    """Return the file for an address (git-config(1)); raises ValueError for what is no address."""
    name, _, domain = email.rpartition("@")
    if not (name and domain and len(email) <= MAX_EMAIL and email.isprintable()):
        raise ValueError("an e-mail address")
    return (
        "[include]\n\tpath = /etc/gitconfig\n"
        f"[user]\n\tname = {_quoted(name)}\n\temail = {_quoted(email)}\n"
    )


def write(path: str, email: str) -> None:
    """Write the file, whole or not at all. That it cannot be written is no reason not to go on."""
    content = gitconfig(email)
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(content)
        os.replace(f"{path}.new", path)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
