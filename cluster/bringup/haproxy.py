"""A wrapper of HAProxy that closes what Serve's configuration leaves open.

Serve (2.60, ``serve/_private/haproxy_templates.py``) writes HAProxy's configuration and has no setting
for these lines: the statistics and metrics listeners are open to the network, the admin socket to every
user of the machine, the replicas do not learn who is calling, and until the first of them is known every
path is answered with 404. It does let us name the binary, so
that is a script which mends the configuration it is given and then becomes HAProxy.
"""

from __future__ import annotations

import shlex
from pathlib import Path

_CLOSE = (
    # "bind :9101" and "bind *:8404": only this machine asks there.
    r"s/^([[:space:]]*bind )[*]?:([0-9]+)/\1127.0.0.1:\2/",
    r"s/^([[:space:]]*stats socket .* )mode 666/\1mode 600/",
    # Every path is ours. What HAProxy knows no replica for is not missing: its start is under way.
    r"s/(http-request return status )404 /\1503 hdr retry-after 1 /",
)
_LINE = "http-request set-header x-forwarded-for %[src]"
# The line is taken out first, since the same file may be given again.
_TELL_PEER = (
    rf"/^frontend http_frontend/,/^backend/ {{ /{_LINE.replace('[', '.').replace(']', '.')}/d;"
    rf" s/^([[:space:]]*)(bind .*)$/\1\2\n\1{_LINE}/; }}"
)


def write_wrapper(path: Path, binary: str, *, tell_peer: bool) -> None:
    """Write the script that stands in for ``binary``.

    ``tell_peer``: replicas learn the caller's address, whatever the caller says of it. Not behind a
    proxy, which has said it already.
    """
    edits = (*_CLOSE, _TELL_PEER) if tell_peer else _CLOSE
    expressions = " ".join(f"-e {shlex.quote(edit)}" for edit in edits)
    path.write_text(
        "#!/bin/sh\n"
        "previous=\n"
        'for argument in "$@"; do\n'
        f'    [ "$previous" = -f ] && sed -E -i {expressions} "$argument"\n'
        "    previous=$argument\n"
        "done\n"
        f'exec {shlex.quote(binary)} "$@"\n'
    )
    path.chmod(0o700)
