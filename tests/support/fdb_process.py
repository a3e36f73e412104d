"""A FoundationDB server of a test's own, where FoundationDB is installed: started, killed, restarted."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.server_process import free_port

_CONFIGURE_SECONDS = 60
BACKUP_TOOLS = ("fdbbackup", "fdbrestore", "backup_agent")


class FdbProcess:
    """One ``fdbserver`` with its data below ``directory``; the test is skipped where there is none.

    With a ``certificate`` and its ``key`` (PEM) it speaks TLS only, with whoever has the same.
    """

    def __init__(
        self, directory: Path, *, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        self._server = shutil.which("fdbserver")
        self._cli = shutil.which("fdbcli")
        if self._server is None or self._cli is None:
            pytest.skip("FoundationDB's fdbserver and fdbcli are not on the PATH")
        self._directory = directory
        self._address = f"127.0.0.1:{free_port()}" + (":tls" if certificate else "")
        self._tls: list[str] = []
        if certificate is not None:
            self._tls += ["--tls-certificate-file", str(certificate), "--tls-key-file", str(key)]
            self._tls += ["--tls-ca-file", str(certificate)]
        self._process: subprocess.Popen[bytes] | None = None
        self._agent: subprocess.Popen[bytes] | None = None
        self.cluster_file = directory / "fdb.cluster"
        self.cluster_file.write_text(f"test:{secrets.token_hex(8)}@{self._address}\n")

    def create(self) -> None:
        """Start it with an empty database."""
        self.start()
        arguments = ["-C", str(self.cluster_file), *self._tls]
        done = subprocess.run(
            [str(self._cli), *arguments, "--exec", "configure new single ssd"],
            capture_output=True,
            timeout=_CONFIGURE_SECONDS,
            check=False,
        )
        assert b"created" in done.stdout, done.stdout + done.stderr

    def start(self) -> None:
        """Start it; it finds the data of its last life."""
        data, logs = self._directory / "data", self._directory / "logs"
        data.mkdir(exist_ok=True)
        logs.mkdir(exist_ok=True)
        arguments = ["-p", self._address, "-C", str(self.cluster_file), "-d", str(data)]
        self._process = subprocess.Popen(
            [str(self._server), *arguments, "-L", str(logs), *self._tls],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ},
        )

    def start_agent(self) -> None:
        """Start what carries out backups and restores; skips where the backup tools are not installed."""
        missing = [name for name in BACKUP_TOOLS if shutil.which(name) is None]
        if missing:
            pytest.skip(f"FoundationDB's {', '.join(missing)} not on the PATH")
        self._agent = subprocess.Popen(
            ["backup_agent", "-C", str(self.cluster_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._directory,
        )

    def kill_agent(self) -> None:
        """End the agent at once."""
        _kill(self._agent)
        self._agent = None

    def cli(self, command: str) -> str:
        """Have ``fdbcli`` do something; return its output."""
        done = subprocess.run(
            [str(self._cli), "-C", str(self.cluster_file), *self._tls, "--exec", command],
            capture_output=True,
            text=True,
            timeout=_CONFIGURE_SECONDS,
            check=True,
        )
        return done.stdout

    def kill(self) -> None:
        """End it, and its agent, at once, as a crash does."""
        self.kill_agent()
        _kill(self._process)
        self._process = None


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
