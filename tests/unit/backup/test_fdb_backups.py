"""FoundationDB's own backups: commands to its tools, and the reading of their answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import NotFound, PreconditionFailed
from cluster import settings
from cluster.backup.catalog import Backup, Catalog
from cluster.backup.fdb.commands import FdbCommands, read_backup_status, read_restore_status
from cluster.backup.fdb.tools import FdbTools, fdb_tools, run_tool, tls_environment
from cluster.backup.restorer import DamagedBackup, restore
from cluster.backup.snapshots import FdbSnapshots
from cluster.backup.verify import verify
from cluster.backup.writer import BackupTools, BackupWriter
from cluster.blobs import DirectoryBlobs
from cluster.layout import Layout
from cluster.store.engines.lmdb.engine import LmdbEngine
from tests.fakes.fdb_backup_tools import BackupTools as Tools
from tests.fakes.fdb_backup_tools import NoAgent, StuckAgent
from tests.fakes.pool_fakes import ManualClock

CLUSTER = Path("/etc/fdb.cluster")
COMMANDS = FdbCommands(CLUSTER, "coditect")
RANGE = "\\x02" + "".join(f"\\x{byte:02x}" for byte in b"coditect") + "\\x00"


class HurriedClock(ManualClock):
    """Nobody waits: time goes on by what was to be slept."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)


def tools_over(run: Tools, commands: FdbCommands = COMMANDS) -> FdbTools:
    return FdbTools(commands, run, HurriedClock())


def write_files(directory: Path) -> None:
    for name in ("kvranges/range,1", "logs/log,1", "properties/log_end_version"):
        path = directory / name
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())


class House:
    """A server on FoundationDB, whose tools are the double's, with a place for its backups."""

    def __init__(self, directory: Path, engine: LmdbEngine, run: Tools, url: str) -> None:
        self.run = run
        self.tools = tools_over(run)
        self.moments = FdbSnapshots(engine, self.tools, url)
        self.place = DirectoryBlobs(directory / "backups")
        self.catalog = Catalog(self.place)
        self.chunks = DirectoryBlobs(directory / "chunks")
        self.clock = ManualClock()
        self.said: list[str] = []
        self.begun = asyncio.Event()
        self.maker = BackupWriter(
            BackupTools(
                engine=engine,
                tenant_id="t",
                node_id="n-1",
                chunks=self.chunks,
                place=self.place,
                freeze=self.moments.freeze,
                scratch=directory / "scratch",
                clock=self.clock,
                new_id=lambda kind: f"{kind}-{self.run.number:06d}",
            )
        )

    async def create(self) -> Backup:
        self.clock.advance(10)
        return await self.maker.create(self.report)

    def report(self, text: str) -> None:
        self.said.append(text)
        self.begun.set()

    async def restored(self, backup: Backup, directory: Path, tools: FdbTools | None) -> None:
        chunks = DirectoryBlobs(directory / "chunks")
        await restore(self.place, backup, Layout(directory), chunks, lambda *_: None, tools)


@pytest.fixture
async def engine(tmp_path):
    made = LmdbEngine(tmp_path / "store", map_size=16 << 20)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def house(tmp_path, engine):
    return House(tmp_path, engine, Tools(write_files), f"file://{tmp_path}/fdb/{{id}}")


async def test_a_backup_is_of_this_servers_keys_alone(house):
    backup = await house.create()
    start = next(command for command in house.run.ran if command[1] == "start")
    assert start[:6] == ["fdbbackup", "start", "-C", str(CLUSTER), "-t", "coditect-coditect"]
    assert start[-2:] == ["-k", f"{RANGE} {RANGE[:-2]}01"]
    assert backup.fdb is not None
    assert (backup.fdb.prefix, backup.fdb.version) == ("coditect", 7_000_000)
    assert [piece.name for piece in backup.fdb.files] == ["kvranges/range,1", "logs/log,1"]
    assert backup.size == backup.copied_bytes == sum(piece.size for piece in backup.fdb.files)
    assert "store: 1,010 bytes written" in house.said
    assert await house.catalog.get(backup.backup_id) == backup


async def test_a_base_with_earlier_backups_is_left_as_it_is(tmp_path, engine):
    house = House(tmp_path, engine, Tools(write_files), f"file://{tmp_path}/fdb")
    first, second = await house.create(), await house.create()
    assert first.fdb.url == f"file://{tmp_path}/fdb/backup-1"
    assert await verify(house.place, first) == await verify(house.place, second) == []
    await house.catalog.expire(1, house.moments.forget)
    assert [path.name for path in (tmp_path / "fdb").iterdir()] == ["backup-2"]


async def test_one_whose_maker_died_is_ended_before_the_next_begins(house):
    house.run.backup, house.run.url = ["Running"], "file:///elsewhere/backup-0"
    await house.create()
    assert [command[1] for command in house.run.ran][:3] == ["status", "abort", "start"]


@pytest.mark.parametrize(
    ("run", "said"),
    [(NoAgent(write_files), "no agent took it up"), (StuckAgent(write_files), "nothing has moved")],
)
async def test_what_nobody_carries_out_is_ended_removed_and_reported(tmp_path, engine, run, said):
    house = House(tmp_path, engine, run, f"file://{tmp_path}/fdb")
    with pytest.raises(Unavailable, match=said) as failed:
        await house.create()
    assert "io_error" in str(failed.value)
    assert run.backup == ["Aborted"]
    assert list((tmp_path / "fdb").iterdir()) == []
    assert await house.catalog.ids() == []


async def test_a_start_that_fails_leaves_the_last_backup_as_it_is(tmp_path, engine):
    house = House(tmp_path, engine, Tools(write_files), f"file://{tmp_path}/fdb")
    backup = await house.create()
    house.run.refuse = {"start": "ERROR: Could not create the container"}
    with pytest.raises(Unavailable, match="Could not create"):
        await house.create()
    assert await verify(house.place, backup) == []


async def test_a_backup_that_is_cancelled_ends_in_the_cluster_too(tmp_path, engine):
    run = StuckAgent(write_files)
    house = House(tmp_path, engine, run, f"file://{tmp_path}/fdb")
    making = asyncio.create_task(house.create())
    await house.begun.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert run.backup == ["Aborted"]
    assert list((tmp_path / "fdb").iterdir()) == []


async def test_one_that_the_server_cannot_see_is_none(tmp_path, engine):
    house = House(tmp_path, engine, Tools(), f"file://{tmp_path}/fdb")
    with pytest.raises(Unavailable, match="agents and server both see"):
        await house.create()
    assert await house.catalog.ids() == []
    assert list((tmp_path / "fdb").iterdir()) == []


async def test_an_old_backup_goes_with_its_files(house, tmp_path):
    first, second = await house.create(), await house.create()
    assert await house.catalog.expire(1, house.moments.forget) == [first.backup_id]
    assert [path.name for path in (tmp_path / "fdb").iterdir()] == [second.backup_id]
    with pytest.raises(NotFound):
        await house.catalog.get(first.backup_id)


@pytest.mark.parametrize(
    "said", ["ERROR: Backup does not exist", "ERROR: Backup Container URL invalid"]
)
@pytest.mark.parametrize("left", [True, False])
async def test_an_expiry_that_was_cut_short_is_done_by_the_next(house, tmp_path, said, left):
    first, second = await house.create(), await house.create()
    if not left:
        await house.moments.forget(first.fdb)
    house.run.refuse = {"delete": said}
    assert await house.catalog.expire(1, house.moments.forget) == [first.backup_id]
    assert [path.name for path in (tmp_path / "fdb").iterdir()] == [second.backup_id]
    assert await house.catalog.ids() == [second.backup_id]


async def test_an_unreadable_local_backup_goes_by_its_directory(house, tmp_path):
    await house.create()
    second = await house.create()
    house.run.refuse = {"delete": "ERROR: Backup Container info invalid"}
    await house.catalog.expire(1, house.moments.forget)
    assert [path.name for path in (tmp_path / "fdb").iterdir()] == [second.backup_id]


async def test_one_that_cannot_be_removed_keeps_no_other_from_it(tmp_path, engine):
    house = House(tmp_path, engine, Tools(), "blobstore://k@h/c-{id}?bucket=b")
    first, _, third = [await house.create() for _ in range(3)]

    async def forget(part):
        if part == first.fdb:
            house.run.refuse = {"delete": "ERROR: Backup Container URL invalid"}
        try:
            await house.moments.forget(part)
        finally:
            house.run.refuse = {}

    with pytest.raises(Unavailable, match="URL invalid"):
        await house.catalog.expire(1, forget)
    assert await house.catalog.ids() == [first.backup_id, third.backup_id]
    house.run.refuse = {"delete": "ERROR: Backup does not exist"}
    assert await house.catalog.expire(1, house.moments.forget) == [first.backup_id]


async def test_a_restore_is_of_this_servers_keys_at_the_backups_version(house, tmp_path):
    backup = await house.create()
    await house.restored(backup, tmp_path / "new", house.tools)
    start = next(command for command in house.run.ran if command[:2] == ["fdbrestore", "start"])
    assert start[2:6] == ["--dest-cluster-file", str(CLUSTER), "-t", "coditect-coditect"]
    assert start[6:10] == ["-r", backup.fdb.url, "-v", "7000000"]
    assert start[10:] == ["-k", f"{RANGE} {RANGE[:-2]}01"]
    assert Layout(tmp_path / "new").node_id() == "n-1"
    with pytest.raises(PreconditionFailed, match="clearrange"):
        await house.restored(backup, tmp_path / "again", house.tools)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("hurt", ["altered", "gone"])
async def test_a_damaged_file_is_noticed_before_anything_is_restored(house, tmp_path, hurt):
    backup = await house.create()
    path = Path(backup.fdb.url.removeprefix("file://")) / "kvranges" / "range,1"
    path.unlink() if hurt == "gone" else path.write_bytes(b"KVRANGES/RANGE,1"[:16])
    with pytest.raises(DamagedBackup, match="kvranges/range,1"):
        await house.restored(backup, tmp_path / "new", house.tools)
    assert house.run.empty
    assert not (tmp_path / "new").exists()


async def test_files_that_a_look_writes_anew_are_not_damage(house):
    backup = await house.create()
    path = Path(backup.fdb.url.removeprefix("file://")) / "properties" / "log_end_version"
    path.write_bytes(b"other")
    assert await verify(house.place, backup) == []


async def test_a_backup_in_a_bucket_is_asked_what_it_can_be_restored_to(tmp_path, engine):
    url = "blobstore://k@h/c-{id}?bucket=b"
    house = House(tmp_path, engine, Tools(), url)
    backup = await house.create()
    assert backup.fdb.url == url.replace("{id}", backup.backup_id)
    assert backup.fdb.files == []
    assert await verify(house.place, backup, tools=house.tools) == []
    house.run.restorable = None
    [damage] = await verify(house.place, backup, tools=house.tools)
    assert "cannot be restored" in damage.reason


@pytest.mark.parametrize("run", [NoAgent(write_files), StuckAgent(write_files)])
async def test_a_restore_that_nobody_carries_out_unlocks_the_cluster(house, tmp_path, run):
    backup = await house.create()
    with pytest.raises(Unavailable, match="backup_agent"):
        await house.restored(backup, tmp_path / "new", tools_over(run))
    assert run.restore == ["aborted"]


async def test_a_restore_into_another_kind_of_store_is_refused(house, tmp_path):
    backup = await house.create()
    with pytest.raises(PreconditionFailed, match="foundationdb"):
        await house.restored(backup, tmp_path / "new", None)
    other = tools_over(house.run, FdbCommands(CLUSTER, "other"))
    with pytest.raises(PreconditionFailed, match="store_fdb_prefix"):
        await house.restored(backup, tmp_path / "new", other)
    unnamed = tools_over(house.run, FdbCommands(None, "coditect"))
    with pytest.raises(PreconditionFailed, match="store_fdb_cluster_file"):
        await house.restored(backup, tmp_path / "new", unnamed)
    embedded = backup.model_copy(update={"fdb": None})
    with pytest.raises(PreconditionFailed, match="embedded"):
        await house.restored(embedded, tmp_path / "new", house.tools)


def test_answers_that_are_none_are_reported():
    with pytest.raises(Unavailable, match="no cluster"):
        read_backup_status("ERROR: no cluster")
    with pytest.raises(Unavailable, match="gibberish"):
        read_restore_status("gibberish")


@pytest.mark.parametrize(
    ("said", "error"), [("None", None), ("'io_error' 3s ago.\n", "'io_error' 3s ago.")]
)
def test_the_last_error_of_a_restore_is_read(said, error):
    status = read_restore_status(
        "Tag: t  UID: 0  State: running  Blocks: 0/9  BlocksInProgress: 3  Files: 2  BytesWritten: 0  "
        f"CurrentVersion: 1 FirstConsistentVersion: 2  ApplyVersionLag: 0  LastError: {said}  "
        "URL: file:///place/backup-1  Range: 'a'-'b'  AddPrefix: ''  RemovePrefix: ''  Version: 1"
    )
    assert (status.running, status.begun, status.error) == (True, True, error)


async def test_the_tools_speak_tls_as_the_client_does(tmp_path):
    certificate = tmp_path / "cert.pem"
    certificate.write_text("")
    chosen = settings.load(
        {
            "store": "foundationdb",
            "store_fdb_tls_certificate": str(certificate),
            "store_fdb_tls_key_password": "secret",
            "store_fdb_tls_verify_peers": "Check.Valid=1",
        },
        environment={},
        directory=tmp_path,
    )
    assert tls_environment(chosen) == {
        "FDB_TLS_CERTIFICATE_FILE": str(certificate),
        "FDB_TLS_PASSWORD": "secret",
        "FDB_TLS_VERIFY_PEERS": "Check.Valid=1",
    }
    assert await run_tool(["sh", "-c", "echo $MORE"], 5, {"MORE": "more"}) == "more"
    assert fdb_tools(chosen, ManualClock()).prefix == "coditect"


async def test_a_tool_that_is_missing_fails_or_does_not_end_is_reported():
    with pytest.raises(Unavailable, match="foundationdb-clients"):
        await run_tool(["no-such-tool-of-foundationdb"], 5)
    with pytest.raises(Unavailable, match="it broke"):
        await run_tool(["sh", "-c", "echo it broke; exit 3"], 5)
    with pytest.raises(Unavailable, match="did not end"):
        await run_tool(["sleep", "60"], 0.05)
