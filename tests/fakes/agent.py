"""A stand-in for CODI: answers ``/health`` and runs what it is asked to, for tests of runtimes.

``POST /run`` runs its body in a shell and answers exit code, output and errors as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    secret = ""

    def do_GET(self):
        self._answer(200 if self.headers["x-codi-secret"] == self.secret else 401, {"status": "ok"})

    def do_POST(self):
        script = self.rfile.read(int(self.headers["content-length"])).decode()
        try:
            done = subprocess.run(
                ["bash", "-c", script],
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=60,
            )
            answer = {"exit_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
        except BlockingIOError as error:  # no process to be had
            answer = {"exit_code": -1, "stdout": "", "stderr": str(error)}
        self._answer(200, answer)

    def _answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def process_request(self, request, client_address):
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had: a fork bomb is about
            self.process_request_thread(request, client_address)


def main() -> None:
    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    with open(int(arguments["--config-fd"])) as file:
        _Handler.secret = json.load(file)["secret"]
    if os.environ.get("FAIL_WITH"):
        sys.exit(f"cannot start: {os.environ['FAIL_WITH']}")
    if os.environ.get("HANG"):
        signal.pause()
    server = _Server(("", 0), _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=int(arguments["--listen-fd"]))
    server.socket.set_inheritable(False)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server.serve_forever()


@dataclass(frozen=True)
class FakeAgent:
    """The AgentProgram that runs this file with this interpreter."""

    env: dict[str, str] = field(default_factory=dict)

    @property
    def python_argv(self) -> list[str]:
        return [os.path.realpath(sys.executable), "-I", "-S", os.path.realpath(__file__)]

    @property
    def lasts(self) -> bool:
        return False

    @property
    def ro_binds(self) -> list[str]:
        return [sys.base_prefix, os.path.realpath(__file__)]


if __name__ == "__main__":
    main()
