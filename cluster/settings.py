"""Every setting of the server, in one place; nothing else reads the environment.

Sources, strongest first: command-line options, ``CODITECT_*`` environment variables,
``coditect.toml`` (in the working directory, or the file that ``CODITECT_CONFIG`` names), defaults.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping, MutableMapping
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from actors.core.errors.requests import InvalidArgument
from actors.core.quotas import Quotas
from actors.core.records.egress import EgressPolicy
from cluster.cloud_run_options import (
    LONGEST_TIMEOUT,
    Ingress,
    Shape,
    parse_places,
    parse_secrets,
)
from cluster.egress.mirrors import host_of, parse_variables
from cluster.egress.policy import parse_hosts
from cluster.emails import prepare
from cluster.id_range import IdRange

RAY_PORTS = range(30_100, 32_700)
"""Ports at a node's address from which those of Ray's daemons are taken."""

PREFIX = "CODITECT_"
# Variables of the prefix that are not settings of the server.
TESTS_PREFIX = "CODITECT_TEST_"
SECRETS = frozenset(
    {"admin_password", "secret_key", "store_fdb_tls_key_password", "store_fdb_backup_url"}
)
"""Settings that nobody is shown; the last may hold the keys of a bucket."""

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

OTHER_VARIABLES = frozenset({"CODITECT_CONFIG", "CODITECT_URL"})


# A file that a process elsewhere opens: relative to where the setting was read, not to that process.
FilePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


def _names_each_backup(url: str) -> str:
    if url.startswith("blobstore://") and "{id}" not in url:
        raise ValueError("a blobstore:// URL must have {id}: each backup needs a URL of its own")
    return url


def _networks(text: str) -> str:
    for each in filter(None, map(str.strip, text.split(","))):
        ipaddress.ip_network(each)
    return text


def _places(text: str) -> str:
    parse_places(text)
    return text


def _references(text: str) -> str:
    parse_secrets(text)
    return text


def _private(address: str) -> str:
    """Refuse what is not an address of a private network: containers reach all others, and Ray listens."""
    known = ipaddress.IPv4Address(address)
    if known.is_global or known.is_unspecified or known.is_multicast:
        raise ValueError("an address of this machine in a private network, not a public one")
    return address


def _place(text: str) -> str:
    parse_place(text)
    return text


def parse_place(text: str) -> tuple[str, int]:
    """Return address and port of ``address:port``. Raises ValueError."""
    address, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ValueError("address:port")
    return str(ipaddress.IPv4Address(address)), int(port)


def _labels(text: str) -> str:
    parse_labels(text)
    return text


def parse_labels(text: str) -> dict[str, str]:
    """Return labels by name. Raises ValueError."""
    labels = {}
    for each in filter(None, map(str.strip, text.split(","))):
        name, equals, value = each.partition("=")
        if not equals or not _LABEL.fullmatch(name) or not _LABEL.fullmatch(value):
            raise ValueError(f"name=value of letters, digits, dots, - and _, not {each!r}")
        labels[name] = value
    return labels


def _hosts(text: str) -> str:
    parse_hosts(text)
    return text


def _web_address(text: str) -> str:
    host_of(text)
    return text


def _variables(text: str) -> str:
    parse_variables(text)
    return text


def _address(email: str) -> str:
    try:
        return prepare(email).shown
    except InvalidArgument as error:
        raise ValueError(error.reason) from None


def _is_id_range(text: str) -> str:
    IdRange.parse(text)
    return text


class RuntimeName(StrEnum):
    """Runtimes of containers."""

    SANDBOX = "sandbox"
    CLOUD_RUN = "cloud_run"
    STUB = "stub"


class StoreName(StrEnum):
    """Engines of the store."""

    EMBEDDED = "embedded"
    FOUNDATIONDB = "foundationdb"


class Settings(BaseModel):
    """The server's settings. Times are seconds, sizes bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Where it listens and keeps things
    host: str = Field("127.0.0.1", description="address the ingress listens on")
    port: int = Field(8080, ge=0, le=65535, description="port of the ingress; 0 picks a free one")
    node_address: Annotated[str, AfterValidator(_private)] = Field(
        "127.0.0.1",
        description="address of this machine in the private network of a server's nodes, for Ray and"
        " containers; with the loopback's no node can join",
    )
    cluster_port: int = Field(
        7420, ge=1, le=65535, description="port of the head at node_address where nodes join"
    )
    head: Annotated[str, AfterValidator(_place)] | None = Field(
        None, description="address:port of the head that this node joins; `coditect join` sets it"
    )
    node_labels: Annotated[str, AfterValidator(_labels)] = Field(
        "", description="what operators call this node by, name=value separated by commas"
    )
    data_dir: Path = Field(Path("coditect-data"), description="everything that lasts, and the logs")
    public_url: str | None = Field(None, description="address people use, when behind a proxy")
    tenant: str = Field("default", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="tenant id")
    dashboard: bool = Field(default=True, description="start the Ray dashboard")

    # The first administrator
    admin_email: Annotated[str, AfterValidator(_address)] | None = Field(
        None, description="first administrator; made up when absent"
    )
    admin_password: SecretStr | None = Field(None, description="its password; made up when absent")

    # What seals the secrets of users
    secret_key: SecretStr | None = Field(
        None,
        description="keys of 32 bytes in base64, with commas between, that seal users' secrets: the first"
        " seals, all open; those of secret_key_file when absent",
    )
    secret_key_file: FilePath | None = Field(
        None,
        description="file with such keys, one a line; secret.key below data_dir, made at the first start,"
        " when absent",
    )

    # Store and runtime
    store: StoreName = Field(StoreName.EMBEDDED, description="embedded or foundationdb")
    store_map_size: int = Field(
        64 << 30, ge=1 << 20, description="largest size of the embedded store"
    )
    store_fdb_cluster_file: FilePath | None = Field(
        None, description="FoundationDB's cluster file; its client's default when absent"
    )
    store_fdb_api_version: int = Field(710, ge=710, le=800, description="FoundationDB API version")
    store_fdb_prefix: str = Field(
        "coditect",
        pattern=r"^[\x21-\x7e]{1,64}$",
        description="name of this server's part of a FoundationDB cluster",
    )
    store_fdb_tls_certificate: FilePath | None = Field(
        None, description="certificate chain for FoundationDB (PEM)"
    )
    store_fdb_tls_key: FilePath | None = Field(None, description="its private key (PEM)")
    store_fdb_tls_key_password: SecretStr | None = Field(None, description="passphrase of that key")
    store_fdb_tls_ca: FilePath | None = Field(
        None, description="authorities that FoundationDB's certificates are checked against (PEM)"
    )
    store_fdb_tls_verify_peers: str | None = Field(
        None, description="what FoundationDB's certificates must say, e.g. Check.Valid=1"
    )
    store_fdb_backup_url: Annotated[str, AfterValidator(_names_each_backup)] | None = Field(
        None,
        description="where FoundationDB's own backups go, file://… or blobstore://…; {id} becomes the"
        " backup's, and blobstore:// needs it",
    )
    runtime: RuntimeName = Field(RuntimeName.SANDBOX, description="sandbox or cloud_run")
    workspace_image: str = Field("coditect/workspace:latest", description="image of a workspace")

    # Cloud Run, with the runtime cloud_run
    cloud_run_places: Annotated[str, AfterValidator(_places)] = Field(
        "",
        description="projects and regions in which containers run, PROJECT/REGION separated by commas",
    )
    cloud_run_shape: Shape = Field(
        Shape.SERVICES, description="what a container is there: services (one each) or instances"
    )
    cloud_run_service_account: str | None = Field(
        None,
        pattern=r"^[^@\s]+@[^@\s]+$",
        description="whom programs in containers are to Google: a service account without any role",
    )
    cloud_run_network: str | None = Field(
        None,
        pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?(/[a-z]([a-z0-9-]*[a-z0-9])?)?$",
        description="VPC network, or NETWORK/SUBNETWORK, that all their traffic goes into, and whose"
        " firewall lets nothing tagged coditect-workspace out",
    )
    cloud_run_ingress: Ingress = Field(
        Ingress.ALL, description="from where invokers may reach containers: all or internal"
    )
    cloud_run_secrets: Annotated[str, AfterValidator(_references)] = Field(
        "",
        description="secrets of Secret Manager in containers, VARIABLE=SECRET:VERSION separated by commas;"
        " everybody in a container can read them",
    )
    cloud_run_timeout: int = Field(
        LONGEST_TIMEOUT,
        ge=10,
        le=LONGEST_TIMEOUT,
        description="longest request of a container; what lasts longer is renewed before",
    )
    cloud_run_services: int = Field(
        1000, ge=1, le=100_000, description="containers that a project takes in one region"
    )
    cloud_run_writes: int = Field(
        180, ge=2, le=100_000, description="launches and stops that it takes in a minute"
    )
    cloud_run_endpoint: str | None = Field(
        None,
        pattern=r"^(http://)?[^/\s:]+:[0-9]+$",
        description="HOST:PORT of another API than Google's; http://HOST:PORT for one in the clear, as"
        " `coditect dev cloud-run` is",
    )

    # Containers
    container_cpu: float = Field(2.0, gt=0, le=256, description="processors of a container")
    container_memory: int = Field(4 << 30, ge=64 << 20, description="memory of a container")
    container_pids: int = Field(512, ge=16, le=1 << 20, description="processes of a container")
    container_ptys: int = Field(
        64, ge=8, le=4096, description="pseudo-terminals of a container, where root runs the server"
    )
    container_disk: int = Field(
        10 << 30,
        ge=0,
        description="bytes that a workspace may hold while it runs, where root runs the server; 0: no limit",
    )
    container_inodes: int = Field(
        1_000_000, ge=1000, le=1 << 30, description="files that it may hold, with container_disk"
    )
    disk_reserve: int = Field(
        1 << 30,
        ge=0,
        description="bytes of the disk that workspaces, with container_disk, leave free",
    )
    container_user_ids: Annotated[str, AfterValidator(_is_id_range)] = Field(
        "1900000000:65536",
        description="first:count of the user ids that root gives to containers, one each; the first owns"
        " workspaces on disk",
    )

    # What containers may reach
    egress: EgressPolicy = Field(
        EgressPolicy.INTERNET,
        description="what a session may reach unless its owner chooses: none, allow-list or internet",
    )
    egress_limit: EgressPolicy = Field(
        EgressPolicy.INTERNET, description="the most that its owner may choose"
    )
    egress_allow: Annotated[str, AfterValidator(_hosts)] = Field(
        "",
        description="hosts of the policy allow-list, separated by commas: name, *.domain, name:port; where"
        " egress_limit is allow-list nobody reaches others",
    )
    egress_hosts: Annotated[str, AfterValidator(_hosts)] = Field(
        "",
        description="hosts that every session with a network reaches though their addresses are private or"
        " this machine's: mirrors, registries",
    )
    egress_refuse: Annotated[str, AfterValidator(_networks)] = Field(
        "",
        description="addresses or networks, separated by commas, that nobody reaches, beside private,"
        " reserved and this machine's own",
    )
    egress_connections: int = Field(
        256, ge=1, le=4096, description="connections of a session to outside at once"
    )
    egress_rate: int = Field(
        0, ge=0, description="bytes a second that a session moves, both ways; 0: no limit"
    )
    egress_day: int = Field(
        0, ge=0, description="bytes that a session moves in a day (UTC), both ways; 0: no limit"
    )
    mirror_pip: Annotated[str, AfterValidator(_web_address)] | None = Field(
        None, description="index for pip and uv in containers, http(s)://…/simple"
    )
    mirror_npm: Annotated[str, AfterValidator(_web_address)] | None = Field(
        None, description="registry for npm and yarn in containers"
    )
    mirror_apt: Annotated[str, AfterValidator(_web_address)] | None = Field(
        None, description="mirror for apt in containers"
    )
    container_env: Annotated[str, AfterValidator(_variables)] = Field(
        "",
        description="environment of programs in containers, NAME=value separated by commas: other mirrors,"
        " as GOPROXY",
    )
    launch_timeout: float = Field(
        20.0, gt=0, le=600, description="limit for a container's start; 90 with cloud_run"
    )
    launch_wait: float = Field(
        120.0, gt=0, le=3600, description="limit for the wait while other containers start"
    )
    launches_at_once: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="containers that start at once; two a core when absent, 32 with cloud_run",
    )
    stop_grace: float = Field(3.0, ge=0, le=600, description="time a container gets to end itself")

    # Workspaces
    chunk_store: str | None = Field(
        None,
        description="where workspaces' contents are kept: a directory, gs://… or s3://…; below"
        " data_dir when absent",
    )
    workspace_excludes: str = Field(
        ".cache", description="names that are not kept, wherever they lie, separated by commas"
    )
    workspace_max_file: int = Field(
        8 << 30, ge=1 << 20, le=8 << 30, description="larger files of a workspace are not kept"
    )
    history_keep: float = Field(
        30 * 86400.0, ge=0, description="versions of files are kept this long"
    )
    history_versions: int = Field(
        100, ge=1, description="newest versions of a workspace that are kept however old they are"
    )

    # Backups
    backup_place: str | None = Field(
        None,
        description="where backups are kept: a directory, gs://… or s3://…; below data_dir when absent",
    )
    backup_interval: float = Field(3_600.0, ge=0, description="time between backups; 0 makes none")
    backup_keep: int = Field(24, ge=1, description="newest backups that are kept")
    backup_keep_six_hourly: int = Field(
        28, ge=0, description="further ones, one of each six hours, that are kept"
    )

    # Pools
    pool_size: int = Field(
        4, ge=0, le=1000, description="warm slots kept ready (actors and containers)"
    )
    warm_actors: int | None = Field(
        None, ge=0, le=1000, description="warm actors, if not pool_size"
    )
    warm_containers: int | None = Field(
        None, ge=0, le=1000, description="warm containers, likewise"
    )
    max_pending_launches: int = Field(64, ge=1, le=10000, description="cold launches before 503")

    # Sessions
    passivate_after: float = Field(
        5.0, gt=0, description="time with nothing to decide before a session's actor lets go of it"
    )
    attach_ttl: float = Field(
        20.0, gt=1, description="an attachment not renewed for this long is gone"
    )
    hibernate_after: float = Field(
        1800.0, ge=0, description="time without a sign of life before hibernation; 0: never"
    )
    idle_weight_input: float = Field(
        1.0, ge=0, le=1, description="weight of typing and calls; 1 in sum is a sign of life"
    )
    idle_weight_cpu: float = Field(1.0, ge=0, le=1, description="weight of programs that compute")
    idle_weight_output: float = Field(0.5, ge=0, le=1, description="weight of terminal output")
    idle_weight_listeners: float = Field(0.5, ge=0, le=1, description="weight of listening sockets")
    idle_weight_clients: float = Field(0.5, ge=0, le=1, description="weight of attached clients")
    idle_cpu_share: float = Field(
        0.05, gt=0, le=256, description="processors in use that count as computing"
    )
    max_keep_awake: float = Field(
        7 * 86400.0, ge=60, description="longest time for which sleep can be vetoed"
    )
    owner_lease: float = Field(
        10.0, ge=2, le=600, description="an owner that cannot renew for this long may be replaced"
    )
    max_sessions_per_user: int = Field(8, ge=1, le=1000, description="live sessions of one user")

    # Quotas of one user, over all sessions; `coditect user quota` sets others for one user
    quota_file_bytes: int = Field(
        20 << 30, ge=0, description="bytes of a user's files that are archived; 0: no limit"
    )
    quota_files: int = Field(
        1_000_000, ge=0, description="a user's files, directories and links; 0: no limit"
    )
    quota_journal_bytes: int = Field(
        128 << 20, ge=0, description="bytes of terminal output kept of a user; 0: no limit"
    )
    quota_containers: int = Field(8, ge=0, description="live containers of one user; 0: no limit")

    quota_variables: int = Field(
        100, ge=0, description="a user's variables and secrets; 0: no limit"
    )
    quota_variable_bytes: int = Field(
        256 << 10,
        ge=0,
        le=1 << 20,
        description="bytes of their names and values; 0: as many as the kernel gives a program",
    )

    # Health
    probe_interval: float = Field(
        10.0,
        gt=0,
        description="time between probes of a container that is well; deaths are seen at once",
    )
    probe_timeout: float = Field(2.0, gt=0, description="limit for one probe")
    probe_failures: int = Field(3, ge=1, description="failed probes in a row before a restart")
    reconcile_interval: float = Field(1.0, gt=0, description="time between reconciliations")
    orphan_lease: float = Field(
        30.0, gt=0, description="a container nobody knows is stopped after this"
    )

    # Ingress
    ingress_replicas: int = Field(2, ge=1, le=64, description="ingress processes on this machine")
    access_token_ttl: float = Field(900.0, ge=10, description="life of an access token")
    refresh_token_ttl: float = Field(30 * 86400.0, ge=60, description="life of a refresh token")
    audit_keep: float = Field(
        90 * 86400.0, ge=3600, description="the audit trail's entries are kept this long"
    )
    refresh_overlap: float = Field(
        30.0, ge=0, le=600, description="a replaced refresh token still answers"
    )
    argon2_parallel: int | None = Field(
        None,
        ge=1,
        le=64,
        description="password checks at once per replica; by itself one a processor over all of them",
    )
    argon2_queue: int = Field(512, ge=1, description="password checks waiting before 429")
    address_connections: int = Field(
        2000, ge=0, description="connections of one address at once; 0: no limit"
    )
    address_requests: int = Field(
        300,
        ge=0,
        description="requests a second of one address, over 10 s, other than this machine; 0: no limit",
    )
    header_timeout: float = Field(
        5.0, gt=0, le=300, description="time in which a request's headers have to be there"
    )
    trusted_proxies: Annotated[str, AfterValidator(_networks)] = Field(
        "",
        description="addresses or networks, separated by commas, whose X-Forwarded-For is believed; this"
        " machine's when there is a public_url",
    )
    transfer_min_rate: int = Field(
        1024, ge=0, description="bytes a second below which a body is given up; 0: any pace"
    )
    transfer_patience: float = Field(
        30.0, gt=0, le=3600, description="time for which a body may come or go more slowly"
    )
    max_body: int = Field(1 << 20, ge=1024, description="largest JSON body")
    max_file: int = Field(2 << 30, ge=1, description="largest file saved through the API")
    ports_domain: str = Field(
        "localhost",
        pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*)?$",
        max_length=180,
        description="domain of which every subdomain leads here, for the pages of workspaces' ports;"
        " best one of its own. Empty: they are served sandboxed, below /workspaces",
    )
    ports_answer_timeout: float = Field(
        120.0, gt=0, le=3600, description="time in which a program must begin its answer on a port"
    )
    cookie_secure: bool = Field(default=False, description="mark cookies Secure (set behind TLS)")

    # SSH
    ssh_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port for SSH clients; 0: the first free one from 2222 on, and the same ever after",
    )
    ssh_host: str | None = Field(None, description="address for SSH clients; `host` when absent")
    ssh_connections: int = Field(
        64, ge=1, le=10_000, description="SSH connections of one user at once"
    )
    ssh_connections_total: int = Field(
        1000, ge=1, le=100_000, description="SSH connections at once over all users"
    )

    # CODI
    terminal_scrollback: int = Field(
        1 << 20, ge=4096, description="journal bytes kept per terminal"
    )
    max_terminals: int = Field(32, ge=1, le=1024, description="terminals of a session")
    exec_timeout: float = Field(30.0, gt=0, le=3600, description="limit of exec when none is given")
    exec_output: int = Field(
        1 << 20, ge=1024, description="bytes kept of exec's stdout and stderr each"
    )

    # Ray
    forked_workers: bool = Field(
        default=True,
        description="fork Ray's workers from one warm process instead of starting each",
    )
    object_store_memory: int = Field(128 << 20, ge=76 << 20, description="Ray's object store")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="log level")

    @property
    def ray_address(self) -> str:
        """The address of this machine for Ray; of all the loopback's it keeps to this one alone."""
        return "127.0.0.1" if ip_address(self.node_address).is_loopback else self.node_address

    @property
    def renew_seconds(self) -> float:
        """Time after which what lasts longer than a request on Cloud Run is renewed: well before its end."""
        return max(0.8 * self.cloud_run_timeout, self.cloud_run_timeout - 120.0)

    @property
    def is_joinable(self) -> bool:
        """Whether this is a head that other machines reach."""
        return self.head is None and self.ray_address != "127.0.0.1"

    @property
    def has_egress(self) -> bool:
        """Whether containers may have a way out at all."""
        return self.runtime is RuntimeName.SANDBOX and self.egress_limit is not EgressPolicy.NONE

    @property
    def kept_reserve(self) -> int:
        """Bytes of the disk to keep free: none where containers have no disks (see ``runtime.disks``)."""
        has_disks = (
            self.runtime is RuntimeName.SANDBOX and self.container_disk and os.geteuid() == 0
        )
        return self.disk_reserve if has_disks else 0

    @property
    def quotas(self) -> Quotas:
        """The limits of users who have no others."""
        return Quotas(
            file_bytes=self.quota_file_bytes,
            files=self.quota_files,
            journal_bytes=self.quota_journal_bytes,
            containers=self.quota_containers,
            sessions=self.max_sessions_per_user,
            variables=self.quota_variables,
            variable_bytes=self.quota_variable_bytes,
        )


_REFUSED: Mapping[tuple[str, StrEnum], str] = {
    ("runtime", RuntimeName.STUB): (
        "stub containers serve nothing: they measure the control plane, and no session comes up in"
        " one; use sandbox"
    ),
}
"""Values that benchmarks and tests may give to ``Settings`` and no server may have."""

_NEEDED_ON_CLOUD_RUN = ("cloud_run_places", "cloud_run_service_account", "cloud_run_network")
_CLOUD_RUN_LAUNCH_SECONDS = 90.0


def load(
    options: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """Gather the settings from options, environment and file, strongest first.

    Raises InvalidArgument: it names the setting, the values allowed, and where it was set.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for source in (_from_file(environment, directory or Path()), _from_environment(environment)):
        for name, (value, place) in source.items():
            values[name], places[name] = value, place
    for name, value in options.items():
        values[name], places[name] = value, f"option --{name.replace('_', '-')}"
    for name, place in places.items():
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InvalidArgument(name, f"no such setting ({place}){hint}")
    if values.get("runtime") == RuntimeName.CLOUD_RUN:
        values.setdefault("launch_timeout", _CLOUD_RUN_LAUNCH_SECONDS)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        shown = "" if name in SECRETS else f", not {first['input']!r}"
        raise InvalidArgument(
            name, f"{first['msg']}{shown} ({places.get(name, 'default')})"
        ) from None
    _check_together(settings, places)
    return settings


def _check_together(settings: Settings, places: Mapping[str, str]) -> None:
    """Raise InvalidArgument for what no server may have, or what its runtime lacks."""
    for (name, value), reason in _REFUSED.items():
        if getattr(settings, name) is value:
            raise InvalidArgument(name, f"{reason} ({places.get(name, 'default')})")
    if settings.runtime is RuntimeName.CLOUD_RUN:
        for name in _NEEDED_ON_CLOUD_RUN:
            if not getattr(settings, name):
                raise InvalidArgument(name, "the runtime cloud_run needs it")


def forget_secrets(environment: MutableMapping[str, str]) -> None:
    """Take the secrets out of an environment, once it has been read: children inherit it."""
    for name in SECRETS:
        environment.pop(PREFIX + name.upper(), None)


def _from_environment(environment: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    return {
        variable.removeprefix(PREFIX).lower(): (value, f"variable {variable}")
        for variable, value in environment.items()
        if variable.startswith(PREFIX)
        and variable not in OTHER_VARIABLES
        and not variable.startswith(TESTS_PREFIX)
    }


def _from_file(environment: Mapping[str, str], directory: Path) -> dict[str, tuple[Any, str]]:
    named = environment.get("CODITECT_CONFIG")
    path = Path(named) if named else directory / "coditect.toml"
    try:
        text = path.read_text()
    except FileNotFoundError:
        if named:
            raise InvalidArgument("CODITECT_CONFIG", f"no file {path}") from None
        return {}
    except OSError as error:
        raise InvalidArgument(str(path), error.strerror or "cannot be read") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(str(path), str(error)) from None
    return {name: (value, f"{path}:{_line(text, name)}") for name, value in values.items()}


def _line(text: str, name: str) -> int:
    for number, line in enumerate(text.splitlines(), 1):
        if line.split("=", 1)[0].strip().strip("\"'") in {name, f"[{name}]"}:
            return number
    return 1


def table() -> str:
    """Return the settings as the README's table."""
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = field.default.value if isinstance(field.default, StrEnum) else field.default
        shown = "" if default is None else f"`{default}`"
        lines.append(f"| `{name}` | {shown} | {field.description} |")
    return "\n".join(lines)


if __name__ == "__main__":
    import sys

    sys.stdout.write(table() + "\n")
