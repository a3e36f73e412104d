"""CODI's settings: the command line, and the secret from a descriptor that nobody else sees."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cluster.codi.agent.fdstore import Store

_KEY = "config"


class Config(NamedTuple):
    """Configuration of one CODI. Sizes are bytes, times seconds."""

    secret: str
    container_id: str = ""
    epoch: int = 0
    workspace: str = "/workspace"
    ring: int = 512 << 10
    max_terminals: int = 32
    max_file: int = 2 << 30
    exec_output: int = 1 << 20
    exec_timeout: float = 30.0
    listen_fd: int = -1
    port: int = 0
    excludes: tuple[str, ...] = ()
    incarnation: str = ""
    has_disk: bool = False
    gateway: str = ""
    proxy_port: int = 0
    boot: str = ""
    secret_digest: str = ""


_USAGE = "codi --listen-fd N | --port N (or PORT) --config-fd N (or CODI_CONFIG) [options]"


def read(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[Config, Store]:
    """Read the settings. Raises SystemExit with a message for whoever starts CODI wrongly.

    Where a platform can hand over no descriptors, ``CODI_CONFIG`` holds the JSON document and
    ``PORT`` the port; the caller removes both from the environment of what it starts. A CODI that
    is started again finds the document in its store: from its descriptor it can be read but once.

    A document that others may read holds ``secret_digest``, SHA-256 in hexadecimal, in place of the secret.
    ``volatile`` says that the workspace begins empty with each start: each is an incarnation of its own.
    """
    options = dict(zip(arguments[::2], arguments[1::2], strict=False))
    try:
        store = Store(_pair(options.get("--store-fds", "")))
        document = _document(options, environment, store)
        boot = os.urandom(8).hex()
        config = Config(
            secret=str(document.get("secret", "")),
            container_id=str(document.get("container_id", "")),
            epoch=int(document.get("epoch", 0)),
            workspace=os.path.realpath(str(document.get("workspace", "/workspace"))),
            ring=max(int(options.get("--ring", 512 << 10)), 4096),
            max_terminals=max(int(options.get("--max-terminals", 32)), 1),
            max_file=int(options.get("--max-file", 2 << 30)),
            exec_output=int(options.get("--exec-output", 1 << 20)),
            exec_timeout=float(options.get("--exec-timeout", 30.0)),
            listen_fd=int(options.get("--listen-fd", -1)),
            port=int(options.get("--port", environment.get("PORT", 0))),
            excludes=tuple(filter(None, options.get("--excludes", "").split("/"))),
            incarnation=boot if document.get("volatile") else str(document.get("incarnation", "")),
            has_disk=bool(document.get("has_disk", False)),
            gateway=str(document.get("gateway", "")),
            proxy_port=int(document.get("proxy_port", 0)),
            boot=boot,
            secret_digest=str(document.get("secret_digest", "")),
        )
    except (KeyError, ValueError, OSError) as error:
        sys.exit(f"codi: {error!r}\nusage: {_USAGE}")
    if not (config.secret or config.secret_digest) or (config.listen_fd < 0 and config.port == 0):
        sys.exit(f"codi: a secret and a socket or a port are needed\nusage: {_USAGE}")
    return config, store


def _pair(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    first, second = text.split(",")
    return int(first), int(second)


def _document(
    options: Mapping[str, str], environment: Mapping[str, str], store: Store
) -> dict[str, Any]:
    if "--config-fd" in options:
        with open(int(options["--config-fd"]), "rb") as file:
            content = file.read()
        if _KEY in store.left:
            content = store.left[_KEY].content
        store.put(_KEY, content)
    else:
        content = environment["CODI_CONFIG"].encode()
    document = json.loads(content)
    if not isinstance(document, dict):
        raise ValueError("the configuration is a JSON object")  # noqa: TRY004 - reported as a bad value
    return document
