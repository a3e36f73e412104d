"""The block that an OpenSSH client needs, and where it goes. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

PREFIX = "coditect."
INCLUDE = "Include coditect_config"


def alias_of(url: str) -> str:
    """Return the name under which a server's key is kept."""
    return "coditect-" + re.sub(r"[^a-z0-9.-]+", "-", url.partition("://")[2].lower()).strip("-")


def block(url: str, command: Sequence[str], known_hosts: str) -> str:
    """Return the configuration for all sessions of a server.

    ``command`` is how `coditect` is run here. Nothing is shared between connections: an editor's would
    hold the one of a shell. The name of the host is quoted: older clients pass any to the shell.
    """
    program = shlex.join([*command, "ssh-proxy", "--server", url]).replace("%", "%%")
    known_hosts = known_hosts.replace("%", "%%")
    return f"""\
# Written by `coditect ssh-config --write`, and overwritten by it.
Host {PREFIX}*
    User coditect
    ProxyCommand {program} '%n'
    HostKeyAlias {alias_of(url)}
    UserKnownHostsFile "{known_hosts}"
    StrictHostKeyChecking yes
    ControlMaster no
    ControlPath none
    ForwardAgent no
    ServerAliveInterval 30
    ServerAliveCountMax 4
"""


def with_known_host(known: str, url: str, host_key: str) -> str:
    """Return ``known_hosts`` with this server's key in the place of whatever it had of it."""
    alias = alias_of(url)
    others = [line for line in known.splitlines() if line.split(" ", 1)[0] != alias]
    return "".join(f"{line}\n" for line in [*others, f"{alias} {host_key}"])


def with_include(config: str) -> str:
    """Return a client's configuration that includes ours, first of all: what comes first counts."""
    lines = config.splitlines()
    if any(line.split() == INCLUDE.split() for line in lines):
        return config
    return f"{INCLUDE}\n\n{config}" if config else f"{INCLUDE}\n"


def session_name(host: str) -> str:
    """Return the session that a host name means, empty for the first one: ``coditect.work`` is ``work``."""
    return host.removeprefix(PREFIX)
