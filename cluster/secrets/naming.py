"""Which names a user's variables and secrets may have, and what else may be said of them. Pure.

A variable is there for programs, so a name is one that every shell takes (POSIX, 8.1). Refused is what
the container sets for its own working, or what programs are loaded by: a value there would not do what its
owner means, or would keep every shell from starting, also the one in which it is taken back.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from actors.core.errors.requests import InvalidArgument

NAME = r"[A-Za-z_][A-Za-z0-9_]{0,127}"
MAX_VALUE = 32 << 10
"""Bytes of a value: below the kernel's 128 KiB for one variable, and of a record of the store."""

HOST = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
MAX_HOST = 253
SHELL = r"/[A-Za-z0-9._/-]{1,127}"
MAX_REPOSITORY = 1024

_NAME = re.compile(NAME)
_HOST = re.compile(HOST)
_SHELL = re.compile(SHELL)
# As git takes it: a URL, or user@host:path (git-clone(1)).
_SHORT = re.compile(r"([A-Za-z0-9._-]+@)?[A-Za-z0-9.-]+:[^\s\\]+")
_SCHEMES = frozenset({"https", "http", "ssh", "git", "file"})

RESERVED = frozenset(
    {
        # Of the account and its shell. A value of PATH could only replace what the container has.
        *("HOME", "LOGNAME", "PATH", "SHELL", "USER", "TZ"),
        # Of the shell itself (bash(1)): it sets them, or is steered by them before any file is read.
        *("_", "BASHOPTS", "BASH_ENV", "ENV", "EUID", "IFS", "OLDPWD", "PPID", "PS4", "PWD", "SHELLOPTS"),
        *("SHLVL", "UID", "PROMPT_COMMAND"),
        # Of the terminal, and of the C library before any program's own code.
        *("COLORTERM", "TERM", "GCONV_PATH", "GETCONF_DIR", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH"),
        *("MALLOC_TRACE", "NIS_PATH", "NLSPATH", "RESOLV_HOST_CONF", "RES_OPTIONS", "GLIBC_TUNABLES"),
        # Of git, which the platform configures, and of the way out.
        *("GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_EXEC_PATH", "SSH_AUTH_SOCK"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "RSYNC_PROXY", "NO_PROXY"),
    }
)  # fmt: skip
RESERVED_PREFIXES = ("LD_", "CODITECT_", "CODI_", "BASH_FUNC_")


def check_name(name: str) -> str:
    """Return a name that a variable or secret may have. Raises InvalidArgument."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            "name", "1 to 128 letters, digits and underscores, the first of them no digit"
        )
    upper = name.upper()
    if upper in RESERVED or upper.startswith(RESERVED_PREFIXES):
        raise InvalidArgument("name", f"{name} is set by the workspace itself")
    return name


def check_value(value: str) -> str:
    """Return a value that can stand in an environment. Raises ValueError, which does not repeat it."""
    if "\0" in value:
        raise ValueError("it has a NUL")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("it is no text: it has a lone surrogate") from None
    if size > MAX_VALUE:
        raise ValueError(f"it has more than {MAX_VALUE} bytes")
    return value


def check_host(text: str) -> str:
    """Return the name of a host in lower case, with its port where one is given. Raises ValueError."""
    host, colon, port = text.lower().partition(":")
    if len(host) > MAX_HOST or not _HOST.fullmatch(host):
        raise ValueError("a host's name, as in api.example.com, or with a port behind a colon")
    if not colon:
        return host
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError("a port is 1 to 65535")
    return f"{host}:{int(port)}"


def check_repository(url: str) -> str:
    """Return the address of a repository that git can clone. Raises ValueError."""
    if not (0 < len(url) <= MAX_REPOSITORY and url.isprintable() and url.isascii()):
        raise ValueError(f"1 to {MAX_REPOSITORY} visible ASCII characters")
    if url.startswith("-") or " " in url:
        raise ValueError("a URL that git clones")
    if "://" not in url:
        if not _SHORT.fullmatch(url) or url.partition(":")[2].startswith(":"):
            raise ValueError("a URL that git clones, or user@host:path")
        return url
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        raise ValueError("a URL that git clones") from None
    if parts.scheme not in _SCHEMES or not (parts.netloc or parts.scheme == "file"):
        raise ValueError(f"a URL of {', '.join(sorted(_SCHEMES))}")
    if password is not None or (parts.username and parts.scheme in {"http", "https"}):
        raise ValueError(
            "it has a password or token in it, and everybody may read this: no user here"
        )
    return url


def check_shell(path: str) -> str:
    """Return a path that may be a shell's; whether a container has it, the container says.

    Raises ValueError.
    """
    if not _SHELL.fullmatch(path) or any(part in {"", ".", ".."} for part in path[1:].split("/")):
        raise ValueError("the path of a shell, as in /usr/bin/zsh")
    return path
