"""Looking at the machine before a server is started on it, for ``coditect doctor`` and ``up``.

``checks.py`` judges; this file looks. Nothing that it does stays behind.
"""

from __future__ import annotations

import errno
import os
import platform
import resource
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import psutil

from actors.core.errors.base import CoditectError, Unavailable
from cluster import belonging
from cluster.backup.fdb.commands import FDB_TOOLS
from cluster.doctor import checks, cloud_run_probe, fdb_probe
from cluster.doctor.checks import Check, Verdict
from cluster.doctor.walls import WallFacts, walls
from cluster.id_range import IdRange
from cluster.runtime import self_test as trial
from cluster.runtime.cgroups import Cgroups
from cluster.runtime.disks import images as disks
from cluster.runtime.disks import reserve
from cluster.runtime.ids import user_ids
from cluster.runtime.launching import furnish
from cluster.runtime.root import bwrap
from cluster.runtime.root import seccomp as filters
from cluster.runtime.root.tables import open_files
from cluster.secrets import key_file
from cluster.settings import RuntimeName, Settings, StoreName

_UNLIMITED = 1 << 62


def _cluster_port(settings: Settings) -> list[Check]:
    """Look at the port where nodes join, where there is one."""
    if not settings.is_joinable or settings.head is not None:
        return []
    facts = port_facts(settings.ray_address, settings.cluster_port)
    return [_safely("cluster port", lambda: checks.cluster_port(facts))]


def run_checks(settings: Settings) -> list[Check]:
    """Look at everything, and judge it. Takes about 100 ms, and 3 s more with FoundationDB.

    A look that fails is an error itself.
    """
    found = [
        _safely("python", lambda: checks.python_version(sys.version_info[:2])),
        _safely("kernel", lambda: checks.kernel(platform.system(), platform.release())),
        _safely("user", lambda: checks.user(is_root=os.geteuid() == 0)),
        _safely("port", lambda: checks.port(port_facts(settings.host, settings.port))),
        *_cluster_port(settings),
        _safely("data directory", lambda: _data_directory(settings.data_dir)),
        _safely("key for secrets", lambda: _secret_key(settings)),
        _safely("disk", lambda: _disk(settings)),
        _safely("memory", lambda: checks.memory(available_memory())),
        _safely("shared memory", lambda: _shared_memory(settings.object_store_memory)),
        _safely("open files", lambda: checks.open_files(_open_files())),
    ]
    if settings.store is StoreName.FOUNDATIONDB:
        found.append(_safely("foundationdb", lambda: _foundationdb(settings)))
        if settings.backup_interval:
            absent = [name for name in FDB_TOOLS if shutil.which(name) is None]
            found.append(_safely("backup tools", lambda: checks.backup_tools(absent)))
    if settings.runtime is RuntimeName.SANDBOX:
        found += _container_checks(settings)
    elif settings.runtime is RuntimeName.CLOUD_RUN:
        found += cloud_run_probe.look(settings)
    return found


def store_check(settings: Settings) -> Check:
    """Look whether the store, if there is one yet, is this server's and has its chunk store."""
    file = settings.data_dir / "store" / "data.mdb"
    if settings.store is StoreName.EMBEDDED and not file.exists():
        return checks.belonging(None, found="there is none yet")
    try:
        return checks.belonging(belonging.refusal(settings, claim=False))
    except Unavailable as error:
        return checks.belonging(None, found=f"not looked at: {error.reason}")


def fatal(found: Iterable[Check]) -> list[Check]:
    """Return the checks without which a server cannot run."""
    return [check for check in found if check.verdict is Verdict.ERROR]


def _container_checks(settings: Settings) -> list[Check]:
    ids = IdRange.parse(settings.container_user_ids)
    failure = trial.failure(ids)
    return [
        _safely("bubblewrap", _bubblewrap),
        _safely("user namespaces", lambda: checks.user_namespaces(namespace_facts(failure))),
        _safely("tools", lambda: checks.tools(_missing_tools())),
        _safely("sandbox", lambda: checks.sandbox(failure)),
        _safely("descriptors", lambda: _descriptors(settings)),
        *_walls(settings, ids),
    ]


def _safely(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except OSError as error:
        return Check(name, Verdict.ERROR, f"could not be looked at: {error}")


def port_facts(host: str, port: int) -> checks.PortFacts:
    """Try to have the port, as the ingress will."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as trial_socket:
            trial_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial_socket.bind(address)
            trial_socket.listen(1)
    except OSError as error:
        return checks.PortFacts(host, port, error.strerror or str(error))
    return checks.PortFacts(host, port, None)


def namespace_facts(failure: str | None) -> checks.NamespaceFacts:
    """Read the kernel's switches; ``failure`` is how a container that was tried did not start."""
    try:
        program = bwrap.find().path
    except Unavailable:
        program = "/usr/bin/bwrap"
    return checks.NamespaceFacts(
        is_root=os.geteuid() == 0,
        maximum=_number("/proc/sys/user/max_user_namespaces"),
        unprivileged_clone=_number("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restricts=_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        bwrap=program,
        works=failure is None,
    )


def available_memory() -> int:
    """Return the bytes that can still be had: of the machine, or of this process's control group."""
    available: int = psutil.virtual_memory().available
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        most, now = _number(limit), _number(used)
        if most is not None and now is not None and most < _UNLIMITED:
            available = min(available, most - now)
    return available


def _bubblewrap() -> Check:
    try:
        found = bwrap.find()
    except Unavailable:
        return checks.bubblewrap(None, None, safe=False)
    return checks.bubblewrap(
        found.version_text, found.path, safe=found.version >= bwrap.SAFE_VERSION
    )


def _foundationdb(settings: Settings) -> Check:
    named = settings.store_fdb_cluster_file
    return checks.foundationdb(
        "the default cluster file" if named is None else str(named), fdb_probe.failure(settings)
    )


def _walls(settings: Settings, ids: IdRange) -> list[Check]:
    """Try what parts users from each other, as far as this process may."""
    place, machine = _nearest(settings.data_dir), os.uname().machine
    facts = WallFacts(
        is_root=os.geteuid() == 0,
        controllers=_controllers(),
        disk_size=settings.container_disk,
        machine=machine,
        filtered=filters.program(machine) is not None,
    )
    if facts.is_root:
        failure, mapped = _own_ids(ids, place)
        facts = replace(facts, ids_failure=failure, ids_are_mapped=mapped)
        if settings.container_disk:
            facts = replace(facts, disk_failure=disks.failure(place))
    else:
        facts = replace(facts, limits_failure=trial.limits_failure())
    return walls(facts)


def _own_ids(ids: IdRange, place: Path) -> tuple[str | None, bool]:
    """Take an id, and show a directory as its; return what failed, and whether it could be shown."""
    try:
        with tempfile.TemporaryDirectory(dir=place) as directory, user_ids.reserve(ids, 0) as user:
            return None, furnish.can_map(Path(directory), ids.on_disk, user)
    except (OSError, Unavailable) as error:
        return str(error), False


def _descriptors(settings: Settings) -> Check:
    file_max = _number("/proc/sys/fs/file-max") or 0
    return checks.descriptors(file_max, open_files(file_max, settings.container_pids))


def _missing_tools() -> list[str]:
    needed = ["nsenter", "prlimit", "setpriv", "unshare"] if os.geteuid() == 0 else []
    return [name for name in needed if shutil.which(name) is None]


def _controllers() -> frozenset[str]:
    return Cgroups.detect(f"coditect-doctor-{os.getpid()}").available


def _data_directory(path: Path) -> Check:
    """Try to write where the data will be; a directory that is not there yet is not made."""
    try:
        with tempfile.TemporaryFile(dir=_nearest(path)):
            return checks.data_directory(str(path), None)
    except OSError as error:
        return checks.data_directory(str(path), error.strerror or errno.errorcode[error.errno or 0])


def _secret_key(settings: Settings) -> Check:
    refusal: str | None = None
    try:
        key_file.load(settings)
    except CoditectError as error:
        refusal = str(error)
    path = key_file.key_file(settings)
    asks_a_file = settings.secret_key is None and path.exists()
    mode = stat.S_IMODE(path.stat().st_mode) if asks_a_file else None
    has_store = (settings.data_dir / "store" / "data.mdb").exists()
    return checks.secret_key(refusal, mode=mode, has_store=has_store)


def _disk(settings: Settings) -> Check:
    free = shutil.disk_usage(_nearest(settings.data_dir)).free
    if not settings.kept_reserve:
        return checks.disk(free)
    size, allocated = reserve.promised(settings.data_dir / "workspaces")
    return checks.disk(free, settings.kept_reserve, size - allocated)


def _nearest(path: Path) -> Path:
    path = path.absolute()
    return next((p for p in (path, *path.parents) if p.exists()), Path("/"))


def _shared_memory(object_store_bytes: int) -> Check:
    return checks.shared_memory(shutil.disk_usage("/dev/shm").free, object_store_bytes)  # noqa: S108 - Ray's place


def _open_files() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if hard == resource.RLIM_INFINITY else hard


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
