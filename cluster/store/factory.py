"""Makes the engine that the settings choose; its client library is loaded in the process that makes it."""

from __future__ import annotations

from functools import partial

from cluster.secret_settings import complete
from cluster.settings import Settings, StoreName, parse_place
from cluster.store.engines.interface import OpenableEngine


def make_engine(settings: Settings) -> OpenableEngine:
    """Return the engine, not yet open. Of a node's lasting processes only the StoreActor's calls this."""
    if settings.store is StoreName.FOUNDATIONDB:
        return _fdb(complete(settings))
    return _lmdb(settings) if settings.head is None else head_engine(settings)


def head_engine(settings: Settings) -> OpenableEngine:
    """Return the store of the head that a node has joined, whichever engine that is."""
    from cluster.membership import credentials, version  # noqa: PLC0415
    from cluster.store.remote.head_engine import HeadEngine  # noqa: PLC0415

    assert settings.head is not None
    return HeadEngine(
        parse_place(settings.head),
        partial(credentials.node_context, settings.data_dir),
        name=credentials.HEAD_NAME,
        greeting={"version": version.own()},
    )


def _lmdb(settings: Settings) -> OpenableEngine:
    from cluster.store.engines.lmdb.engine import LmdbEngine  # noqa: PLC0415

    return LmdbEngine(settings.data_dir / "store", map_size=settings.store_map_size)


def _fdb(settings: Settings) -> OpenableEngine:
    from cluster.store.engines.fdb.client import TlsOptions  # noqa: PLC0415
    from cluster.store.engines.fdb.engine import FdbEngine  # noqa: PLC0415

    password = settings.store_fdb_tls_key_password
    return FdbEngine(
        settings.store_fdb_cluster_file,
        prefix=settings.store_fdb_prefix,
        api_version=settings.store_fdb_api_version,
        tls=TlsOptions(
            certificate=settings.store_fdb_tls_certificate,
            key=settings.store_fdb_tls_key,
            key_password=password.get_secret_value() if password else None,
            ca=settings.store_fdb_tls_ca,
            verify_peers=settings.store_fdb_tls_verify_peers,
        ),
    )
