"""A second node of a running server: a raylet that joins its head, and the actors a node has.

A server's command line starts one node. What joins another one here is the product's own wiring; its
processes run in another network namespace. The embedded store is one machine's, so the node's store
socket leads over the wire to the head's StoreActor (``serve_store``), where FoundationDB's client would
go to its cluster.

``python -m tests.support.second_node ORDER`` prints a line when it is ready, and opens a session for each
line that it reads, until standard input ends or its raylet does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from actors.core import names
from actors.core.calls import PoolCalls
from actors.core.directory import ActorDirectory
from actors.core.errors.base import CoditectError
from cluster.bringup import leftovers
from cluster.bringup.environment import environment
from cluster.bringup.head import free_ports
from cluster.layout import Layout
from cluster.paths import store_socket
from cluster.settings import Settings
from cluster.wiring.blueprints import blueprints
from cluster.wiring.node import NodeWiring
from tests.support.network import Wire
from tests.support.server_process import ROOT, ServerProcess
from tests.support.waiting import wait_until

READY_SECONDS = 90.0


class SecondNode:
    """The test's side: starts the process in the other namespace and talks with it."""

    def __init__(self, server: ServerProcess, wire: Wire, data_dir: Path, store_port: int) -> None:
        self.data_dir = data_dir
        self.node_id = f"n-{secrets.token_hex(5)}"
        self._server = server
        self._wire = wire
        self._store_port = store_port
        self._process: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()

    async def start(self) -> None:
        """Join, and return when the node has a warm slot."""
        self.data_dir.mkdir(exist_ok=True)
        run_dir = self.data_dir / "run"
        run_dir.mkdir(exist_ok=True)
        shutil.copy(self._server.data_dir / "run" / "ray-token", run_dir / "ray-token")
        order = {
            "settings": self._settings().model_dump(mode="json", exclude={"admin_password"}),
            "node_id": self.node_id,
            "head": head_address(self._server),
            "store": [self._wire.here, self._store_port],
        }
        command = [sys.executable, "-m", "tests.support.second_node", json.dumps(order)]
        with (self.data_dir / "node.out").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._wire.inside(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=ROOT,
                start_new_session=True,
            )
        said = await self._answer(READY_SECONDS)
        assert said == {"ready": True}, (said, self.tail())

    async def open_session(self, user_id: str) -> str:
        """Have this node's pool open a user's session; return its id."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        async with self._asking:
            process.stdin.write(json.dumps({"open": user_id}).encode() + b"\n")
            return str((await self._answer(60))["session_id"])

    async def ended(self, timeout_seconds: float = 60.0) -> None:
        """Wait until it has ended by itself, as a node does that Ray has given up."""
        assert self._process is not None
        async with asyncio.timeout(timeout_seconds):
            await self._process.wait()
        await asyncio.to_thread(leftovers.end, self.data_dir.resolve(), grace_seconds=0.0)

    def containers(self) -> set[str]:
        """Return the containers that run here."""
        places = self.data_dir / "runtime" / "containers"
        return {path.stem for path in places.glob("*.json")}

    async def stop(self) -> None:
        """End it and everything that it started, containers too."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(60):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await asyncio.to_thread(leftovers.end, self.data_dir.resolve(), grace_seconds=0.0)
        runtime = NodeWiring(self._settings(), self.node_id).runtime()
        for handle in await runtime.list():
            await runtime.stop(handle, 0.0)
        shutil.rmtree(Layout(self.data_dir).ray_dir, ignore_errors=True)

    def _settings(self) -> Settings:
        named = {
            name.removeprefix("CODITECT_").lower(): value
            for name, value in self._server.environment.items()
            if name.startswith("CODITECT_")
        }
        return Settings.model_validate(
            named | {"data_dir": self.data_dir.resolve(), "node_address": self._wire.there}
        )

    def tail(self) -> str:
        """Return the end of what it printed."""
        return (self.data_dir / "node.out").read_text(errors="replace")[-4000:]

    async def _answer(self, seconds: float) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        async with asyncio.timeout(seconds):
            line = await process.stdout.readline()
        assert line, self.tail()
        said: dict[str, Any] = json.loads(line)
        return said


def head_address(server: ServerProcess) -> str:
    """Return where the server's GCS listens."""
    [address] = {
        argument.partition("=")[2]
        for path in Path("/proc").glob("[0-9]*/cmdline")
        for argument in _arguments(path)
        if argument.startswith("--gcs-address=")
        and str(Layout(server.data_dir).ray_dir) in " ".join(_arguments(path))
    }
    return address


def _arguments(path: Path) -> list[str]:
    try:
        return path.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


@asynccontextmanager
async def serve_store(server: ServerProcess, host: str) -> AsyncIterator[int]:
    """Serve the head's store socket on a port of an address; yields the port."""
    [path] = (server.data_dir / "run").glob("store-*.sock")
    async with _relay(lambda: asyncio.open_unix_connection(str(path))) as handle:
        listening = await asyncio.start_server(handle, host, 0)
        async with listening:
            yield int(listening.sockets[0].getsockname()[1])


@asynccontextmanager
async def _relay(connect) -> AsyncIterator[Any]:
    """Yield a connection handler that carries bytes between a client and what ``connect`` opens."""
    under_way: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        try:
            async with asyncio.timeout(60):
                far_reader, far_writer = await connect()
            await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))
        except (OSError, TimeoutError):
            writer.close()
        finally:
            under_way.discard(task)

    try:
        yield handle
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


# ---- the process of the node --------------------------------------------------------------------


def main() -> int:
    """Be the node."""
    order = json.loads(sys.argv[1])
    settings = Settings.model_validate(order["settings"])
    layout = Layout(settings.data_dir)
    ports = free_ports(settings.node_address)
    # Ray reads its variables when it is imported.
    if os.environ.get("RAY_AUTH_TOKEN_PATH") != str(layout.token_file):
        layout.prepare()
        shutil.rmtree(layout.ray_dir, ignore_errors=True)
        layout.prepare_ray_dir()
        variables = environment(settings, layout, ports, packages=ROOT, open_files=4096)
        os.execve(
            sys.executable,
            [sys.executable, "-m", __spec__.name, *sys.argv[1:]],
            os.environ | variables,
        )
    leftovers.adopt_orphans()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import ray  # noqa: PLC0415 - after the environment is set
    from ray._private.node import Node  # noqa: PLC0415
    from ray._private.parameter import RayParams  # noqa: PLC0415

    parameters = RayParams(
        node_ip_address=settings.node_address,
        gcs_address=order["head"],
        temp_dir=str(layout.ray_dir / "ray"),
        object_store_memory=settings.object_store_memory,
        include_log_monitor=False,
        num_cpus=8,
        num_gpus=0,
        dashboard_agent_listen_port=ports.dashboard_agent,
        metrics_export_port=ports.metrics_export,
    )
    node = Node(parameters, head=False, shutdown_at_exit=False, spawn_reaper=True)
    wiring = NodeWiring(settings, order["node_id"])
    try:
        ray.init(
            address=order["head"],
            namespace=names.NAMESPACE,
            log_to_driver=False,
            _node_ip_address=settings.node_address,
            _temp_dir=str(layout.ray_dir / "ray"),
        )
        return asyncio.run(_serve(node, wiring, tuple(order["store"]), answers))
    finally:
        leftovers.record(settings.data_dir)
        with contextlib.suppress(Exception):  # Ray raises what it likes; the test's side cleans up
            node.kill_all_processes(check_alive=False, allow_graceful=False)


async def _serve(node: Any, wiring: NodeWiring, store: tuple[str, int], answers: Any) -> int:
    path = store_socket(wiring.settings, wiring.node_id)
    path.unlink(missing_ok=True)
    lines: asyncio.Queue[bytes] = asyncio.Queue(100)
    reading = asyncio.create_task(_read_lines(lines))
    async with _relay(lambda: asyncio.open_connection(*store)) as handle:
        listening = await asyncio.start_unix_server(handle, str(path))
        async with listening:
            directory = ActorDirectory()
            pool = names.pool_actor(wiring.node_id)
            for part in blueprints(wiring):
                if part.kind != "store":
                    await directory.create(part.name, part.make)

            async def filled() -> bool:
                try:
                    stats = await directory.call(pool, PoolCalls.stats, 5)
                except CoditectError:
                    return False
                return min(stats["warm_actors_ready"], stats["warm_containers_ready"]) > 0

            await wait_until(filled, timeout_seconds=READY_SECONDS)
            leftovers.record(wiring.settings.data_dir)
            answers.write(json.dumps({"ready": True}) + "\n")
            try:
                while True:
                    if node.dead_processes():
                        return 1
                    try:
                        async with asyncio.timeout(0.25):
                            line = await lines.get()
                    except TimeoutError:
                        continue
                    if not line:
                        return 0
                    opened = await directory.call(
                        pool,
                        PoolCalls.open_session,
                        50,
                        user_id=json.loads(line)["open"],
                        name=names.DEFAULT_SESSION,
                        key=secrets.token_hex(8),
                    )
                    answers.write(json.dumps({"session_id": opened.session_id}) + "\n")
            finally:
                reading.cancel()


async def _read_lines(lines: asyncio.Queue[bytes]) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while True:
        line = await reader.readline()
        await lines.put(line)
        if not line:
            return


if __name__ == "__main__":
    sys.exit(main())
