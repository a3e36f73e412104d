"""Paths of one server: the data directory lasts, the run directory goes with the server."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from actors.core.errors.base import Unavailable
from cluster.runtime.processes import ProcessIdentity, identify, is_alive


@dataclass(frozen=True, slots=True)
class ServerFile:
    """A running server's entry in ``run/server.json``; ``url`` is empty until it is ready."""

    pid: int
    start_ticks: int
    boot_id: str
    started_at: float
    url: str = ""
    dashboard_url: str = ""

    @property
    def identity(self) -> ProcessIdentity:
        """The process that runs ``coditect up``."""
        return ProcessIdentity(pid=self.pid, start_ticks=self.start_ticks, boot_id=self.boot_id)


class Layout:
    """The paths of one server."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        digest = hashlib.blake2b(os.fsencode(self.data_dir), digest_size=5).hexdigest()
        # Unix socket paths end at 107 bytes (unix(7)), HAProxy's at 97, and Serve puts 67 of its own
        # behind this path: it has to be short, wherever the data directory is.
        self.ray_dir = Path("/tmp") / f"cdt-{os.geteuid()}-{digest}"  # noqa: S108 - made with care
        self.haproxy = self.ray_dir / "haproxy"
        self.run_dir = self.data_dir / "run"
        self.log_dir = self.data_dir / "logs"
        self.ray_log_dir = self.log_dir / "ray"
        self.store_dir = self.data_dir / "store"
        self.gcs_dir = self.run_dir / "gcs"
        self.token_file = self.run_dir / "ray-token"
        self.server_file = self.run_dir / "server.json"
        self.family_file = self.run_dir / "processes.json"
        self.pids_dir = self.run_dir / "pids"
        self.keep_file = self.run_dir / "keep-containers"
        self.lock_file = self.data_dir / "server.lock"

    def prepare(self) -> None:
        """Make the directories. Raises Unavailable with the reason when that cannot be done."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            directories = (
                self.run_dir,
                self.pids_dir,
                self.log_dir,
                self.ray_log_dir,
                self.store_dir,
            )
            for directory in directories:
                directory.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            reason = error.strerror or str(error)
            raise Unavailable("data directory", f"{self.data_dir}: {reason}") from error

    def prepare_ray_dir(self) -> None:
        """Make Ray's directory, for this user alone: /tmp is everybody's."""
        self.ray_dir.mkdir(mode=0o700, exist_ok=True)
        status = self.ray_dir.lstat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o077 or self.ray_dir.is_symlink():
            raise Unavailable("ray", f"{self.ray_dir} belongs to somebody else; remove it")

    def node_id(self) -> str:
        """Return this node's lasting id; made up at first."""
        path = self.data_dir / "node-id"
        if not path.exists():
            path.write_text(f"n-{secrets.token_hex(5)}\n")
        return path.read_text().strip()

    def new_token(self, *, lasts: bool = False) -> None:
        """Write a new authentication token for the Ray cluster, readable by this user alone.

        One that ``lasts`` is the same at each start: nodes that have joined come back with it.
        """
        kept = self.data_dir / "cluster" / "ray-token"
        token = kept.read_text().strip() if lasts and kept.exists() else ""
        if not token:
            token = secrets.token_hex(32)
            if lasts:
                kept.parent.mkdir(mode=0o700, exist_ok=True)
                _write_secret(kept, token)
        self.write_token(token)

    def write_token(self, token: str) -> None:
        """Write the token that Ray's processes of this machine use."""
        _write_secret(self.token_file, token)

    def read_server(self) -> ServerFile | None:
        """Return what the running server says of itself; None when none runs."""
        try:
            known = ServerFile(**json.loads(self.server_file.read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None
        return known if is_alive(known.identity) else None

    def write_server(self, server: ServerFile) -> None:
        """Record what runs, in one step."""
        draft = self.server_file.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(server)))
        draft.chmod(0o600)
        draft.replace(self.server_file)


def _write_secret(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)


class DataDirLock:
    """One server a data directory: an flock that ends with the process, whatever ends it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Lock. Raises Unavailable and names the holder."""
        path = self._layout.lock_file
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable("data directory", f"{path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode().strip() or "unknown"
            os.close(descriptor)
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise Unavailable("data directory", f"{path}: {error.strerror}") from error
            raise Unavailable(
                "data directory",
                f"{self._layout.data_dir} is in use by the server with pid {holder};"
                " stop it with `coditect down`, or choose another --data-dir",
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next server in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def own_server_file(started_at: float) -> ServerFile:
    """Return the entry of this process."""
    me = identify(os.getpid())
    assert me is not None
    return ServerFile(me.pid, me.start_ticks, me.boot_id, started_at)
