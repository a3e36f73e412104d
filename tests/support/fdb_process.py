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

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=30)
            self._process = None
