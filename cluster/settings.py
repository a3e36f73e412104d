"""Every setting of the server, in one place; nothing else reads the environment.

Sources, strongest first: command-line options, ``CODITECT_*`` environment variables,
``coditect.toml`` (in the working directory, or the file that ``CODITECT_CONFIG`` names), defaults.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class RuntimeName(StrEnum):
    """What runs containers."""

    SANDBOX = "sandbox"
    CLOUD_RUN = "cloud_run"
    STUB = "stub"


class StoreName(StrEnum):
    """What keeps what must last."""

    EMBEDDED = "embedded"
    FOUNDATIONDB = "foundationdb"


class Egress(StrEnum):
    """What a workspace may reach."""

    NONE = "none"


class Settings(BaseSettings):
    """The server's settings. Times are seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_prefix="CODITECT_", extra="forbid", frozen=True)

    # Where it listens and keeps things
    host: str = Field("127.0.0.1", description="address the ingress listens on")
    port: int = Field(8080, ge=0, le=65535, description="port of the ingress; 0 picks a free one")
    data_dir: Path = Field(Path("coditect-data"), description="everything that lasts, and the logs")
    public_url: str | None = Field(None, description="address people use, when behind a proxy")
    tenant: str = Field("default", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="tenant id")
    dashboard: bool = Field(True, description="start the Ray dashboard")

    # The first administrator
    admin_email: str | None = Field(None, description="first administrator; made up when absent")
    admin_password: SecretStr | None = Field(None, description="its password; made up when absent")

    # Store and runtime
    store: StoreName = Field(StoreName.EMBEDDED, description="embedded or foundationdb")
    store_map_size: int = Field(64 << 30, ge=1 << 20, description="largest size of the embedded store")
    runtime: RuntimeName = Field(RuntimeName.SANDBOX, description="sandbox or cloud_run")
    workspace_image: str = Field("coditect/workspace:latest", description="image of a workspace")

    # Containers
    container_cpu: float = Field(2.0, gt=0, le=256, description="processors of a container")
    container_memory: int = Field(4 << 30, ge=64 << 20, description="memory of a container")
    container_pids: int = Field(512, ge=16, le=1 << 20, description="processes of a container")
    egress: Egress = Field(Egress.NONE, description="what workspaces may reach")
    launch_timeout: float = Field(20.0, gt=0, le=600, description="limit for a container's start")
    stop_grace: float = Field(3.0, ge=0, le=600, description="time a container gets to end itself")

    # Pools
    pool_size: int = Field(4, ge=0, le=1000, description="warm slots kept ready (actors and containers)")
    warm_actors: int | None = Field(None, ge=0, le=1000, description="warm actors, if not pool_size")
    warm_containers: int | None = Field(None, ge=0, le=1000, description="warm containers, likewise")
    max_pending_launches: int = Field(64, ge=1, le=10000, description="cold launches before 503")

    # Sessions
    passivate_after: float = Field(60.0, gt=0, description="time without clients before passivation")
    attach_ttl: float = Field(20.0, gt=1, description="an attachment not renewed for this long is gone")
    max_sessions_per_user: int = Field(8, ge=1, le=1000, description="live sessions of one user")

    # Health
    probe_interval: float = Field(2.0, gt=0, description="time between probes of a container")
    probe_timeout: float = Field(2.0, gt=0, description="limit for one probe")
    probe_failures: int = Field(3, ge=1, description="failed probes in a row before a restart")
    reconcile_interval: float = Field(1.0, gt=0, description="time between reconciliations")
    orphan_lease: float = Field(30.0, gt=0, description="a container nobody knows is stopped after this")

    # Ingress
    ingress_replicas: int = Field(2, ge=1, le=64, description="ingress processes on this machine")
    access_token_ttl: float = Field(900.0, ge=10, description="life of an access token")
    refresh_token_ttl: float = Field(30 * 86400.0, ge=60, description="life of a refresh token")
    refresh_overlap: float = Field(30.0, ge=0, le=600, description="a replaced refresh token still answers")
    argon2_parallel: int = Field(2, ge=1, le=64, description="password checks at once per replica")
    argon2_queue: int = Field(512, ge=1, description="password checks waiting before 429")
    max_body: int = Field(1 << 20, ge=1024, description="largest JSON body")
    max_file: int = Field(2 << 30, ge=1, description="largest file saved through the API")
    cookie_secure: bool = Field(False, description="mark cookies Secure (set behind TLS)")

    # CODI
    terminal_scrollback: int = Field(1 << 20, ge=4096, description="journal bytes kept per terminal")
    max_terminals: int = Field(32, ge=1, le=1024, description="terminals of a session")
    exec_timeout: float = Field(30.0, gt=0, le=3600, description="limit of exec when none is given")
    exec_output: int = Field(1 << 20, ge=1024, description="bytes kept of exec's stdout and stderr each")

    # Ray
    object_store_memory: int = Field(128 << 20, ge=76 << 20, description="Ray's object store")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="log level")
