"""A wrapper of HAProxy that closes what Serve's configuration leaves open, and bounds what strangers take.

Serve (2.60, ``serve/_private/haproxy_templates.py``) writes HAProxy's configuration and has no setting
for these lines: the statistics and metrics listeners are open to the network, the admin socket to every
user of the machine, the replicas do not learn who is calling, until the first of them is known every
path is answered with 404, and whoever sends half a request may hold a connection for ever. It does let
us name the binary, so that is a script which mends the configuration it is given and then becomes
HAProxy. See "Strangers" in ``docs/design/ingress.md``.
"""

from __future__ import annotations

import ipaddress
import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from cluster.bringup import stand_in
from cluster.settings import Settings

TUNNEL_SECONDS = 86400
RATE_SECONDS = 10
_LOOPBACK = ("127.0.0.0/8", "::1")
_TABLE = "stick-table type ipv6 size 100k expire 5m store conn_cur,http_req_rate"
# The network that one subscriber has: a whole /64 of IPv6 (RFC 6177).
_ADDRESS = "src,ipmask(32,64)"
_TOO_MANY = {
    "type": "about:blank",
    "title": "Too Many Requests",
    "status": 429,
    "code": "too_many_requests",
    "detail": "too many requests from this address",
    "retry_after": RATE_SECONDS,
}
_MARK = " # coditect"
_CLOSE = (
    # What was inserted before: the same file may be given again.
    rf"/{_MARK}$/d",
    # To a syslog that need not be ours: our own lines have every request.
    r"/^[[:space:]]*log /d",
    # "bind :9101" and "bind *:8404": only this machine asks there.
    r"s/^([[:space:]]*bind )[*]?:([0-9]+)/\1127.0.0.1:\2/",
    r"s/^([[:space:]]*stats socket .* )mode 666/\1mode 600/",
    # Every path is ours. What HAProxy knows no replica for is not missing: its start is under way.
    r"s/(http-request return status )404 /\1503 hdr retry-after 1 /",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one address within the ``connections`` that HAProxy has in all; 0: no limit.

    ``proxies`` are networks whose ``X-Forwarded-For`` is believed. Without a byte for ``idle_seconds``
    a connection ends, between two requests or in the midst of one.
    """

    connections: int
    address_connections: int
    address_requests: int
    header_seconds: float
    proxies: tuple[str, ...] = ()
    idle_seconds: int = 75

    @classmethod
    def of(cls, settings: Settings, connections: int) -> Limits:
        """Return the limits that the settings ask for."""
        named = tuple(filter(None, map(str.strip, settings.trusted_proxies.split(","))))
        default = _LOOPBACK if settings.public_url is not None else ()
        return cls(
            connections=connections,
            address_connections=settings.address_connections,
            address_requests=settings.address_requests,
            header_seconds=settings.header_timeout,
            proxies=tuple(str(ipaddress.ip_network(each)) for each in named) or default,
        )


def frontend(limits: Limits) -> list[str]:
    """Return the lines for the frontend that people reach.

    The more of all connections are taken, the fewer may be one address's: whoever has few gets in
    while a crowd of addresses, each with many, does not.
    """
    return [
        f"timeout http-request {int(limits.header_seconds * 1000)}ms",
        f"timeout http-keep-alive {limits.idle_seconds}s",
        f"timeout client {limits.idle_seconds}s",
        "option disable-h2-upgrade",  # a hundred requests at once over one connection
        f"acl from_proxy src {' '.join(limits.proxies)}"
        if limits.proxies
        else "acl from_proxy always_false",
        *_few_connections(limits),
        *_who_is_there(limits),
        *_few_requests(limits),
        # A frame of a few kilobytes inflates to megabytes before a replica can look at its size.
        "http-request del-header sec-websocket-extensions",
    ]


def _who_is_there(limits: Limits) -> list[str]:
    """Let replicas learn the caller's address, whatever the caller says of it."""
    said = [f"http-request del-header {name}" for name in ("forwarded", "x-forwarded-proto")]
    caller = "http-request set-header x-forwarded-for %[src]"
    if not limits.proxies:
        return [*said, caller]
    return [
        *(f"{line} unless from_proxy" for line in said),
        # From now on `src` is who the proxy says is there.
        "http-request set-src req.hdr_ip(x-forwarded-for,-1) if from_proxy",
        caller,
    ]


def _few_connections(limits: Limits) -> list[str]:
    if not limits.address_connections:
        return []
    whole = limits.connections
    most = max(1, min(limits.address_connections, whole // 2))
    reject = "tcp-request connection reject if"
    return [
        f"tcp-request connection track-sc0 {_ADDRESS} table address_connections unless from_proxy",
        f"{reject} {{ sc0_conn_cur gt {most} }}",
        *(
            f"{reject} {{ fe_conn gt {whole * taken // 8} }} {{ sc0_conn_cur gt {max(1, left)} }}"
            for taken, left in ((4, whole // 16), (6, whole // 64), (7, whole // 512))
        ),
    ]


def _few_requests(limits: Limits) -> list[str]:
    """Count requests, and behind a proxy what is under way, where connections are the proxy's."""
    body = json.dumps(_TOO_MANY, separators=(",", ":"))
    answer = (
        "http-request return status 429 content-type application/problem+json"
        f" hdr retry-after {RATE_SECONDS} hdr cache-control no-store string '{body}' if"
    )
    lines = [f"http-request track-sc1 {_ADDRESS} table address_requests"]
    if limits.address_requests:
        allowed = limits.address_requests * RATE_SECONDS
        lines += [
            f"acl from_here src {' '.join(_LOOPBACK)}",
            f"{answer} !from_here {{ sc1_http_req_rate gt {allowed} }}",
        ]
    if limits.address_connections:
        lines.append(f"{answer} from_proxy {{ sc1_conn_cur gt {limits.address_connections} }}")
    return lines


def write_wrapper(path: Path, binary: str, limits: Limits, pids: Path) -> None:
    """Write the script that stands in for ``binary``, and what it does beside it.

    Each HAProxy leaves a file in ``pids`` by which ``leftovers.py`` knows it: boot id and stat (proc(5)).
    """
    tables = [
        line
        for name in ("address_connections", "address_requests")
        for line in (f"backend {name}", f"    {_TABLE}({RATE_SECONDS}s)")
    ]
    script = path.with_suffix(".sed")
    script.write_text(
        "\n".join(
            [
                *_CLOSE,
                "/^defaults/" + _added("a", [f"    timeout tunnel {TUNNEL_SECONDS}s"]),
                "/^frontend http_frontend/"
                + _added("a", [f"    {line}" for line in frontend(limits)]),
                "/^listen stats/" + _added("i", tables),
                "",
            ]
        )
    )
    path.write_text(
        "#!/bin/sh\n"
        "previous=\n"
        'for argument in "$@"; do\n'
        # A configuration that could not be mended (a full disk) is not for use: it is open to all.
        f'    if [ "$previous" = -f ]; then sed -E -i -f {shlex.quote(str(script))} "$argument"'
        " || exit 1; fi\n"
        '    if [ "$previous" = -f ]; then configuration=$argument; fi\n'
        "    previous=$argument\n"
        "done\n"
        + _taking_over(path.parent)
        + f"cat /proc/sys/kernel/random/boot_id /proc/$$/stat >{shlex.quote(str(pids))}/$$\n"
        f'exec {shlex.quote(binary)} "$@"\n'
    )
    path.chmod(0o700)


def _taking_over(directory: Path) -> str:
    """Return what has HAProxy take the place of one that stands in (``stand_in.py``).

    Until it knows a replica it does not listen for people: it would refuse whom the other one serves.
    """
    silence = "/^frontend http_frontend/,/^backend/s/^( *)bind /\\1# bind /"
    pid = shlex.quote(str(directory / stand_in.PID))
    return (
        f"stand_in=$(cat {pid} 2>/dev/null)\n"
        f'if grep -qs {stand_in.CONFIGURATION} "/proc/$stand_in/cmdline"; then\n'
        '    if grep -q \'^ *server \' "$configuration"; then set -- "$@" -sf "$stand_in"\n'
        f"    else sed -E -i '{silence}' \"$configuration\"; fi\n"
        "fi\n"
    )


def _added(command: str, lines: list[str]) -> str:
    """Return sed's command that appends (``a``) or inserts (``i``) lines."""
    return f"{command}\\\n" + "\\\n".join(line + _MARK for line in lines)
