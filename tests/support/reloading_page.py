"""A development server: its page is loaded anew when its text changes, as server-sent events say."""

import http.server
import subprocess
import sys
import time
from pathlib import Path

import tinything

TEXT = Path(__file__).with_name("page.txt")
PAGE = """<!doctype html><title>application</title><h1>{text}</h1><p id="packages">{packages}</p>
<script>
new EventSource("/changes").onmessage = (event) => event.data === {stamp} || location.reload();
</script>
"""


def stamp() -> str:
    return str(TEXT.stat().st_mtime_ns)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/changes":
            there = subprocess.run(
                ["node", "-p", "require('tinything')"], capture_output=True, text=True, check=True
            ).stdout.strip()
            packages = f"{tinything.answer} {there}"
            page = PAGE.format(text=TEXT.read_text(), packages=packages, stamp=repr(stamp()))
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        while True:
            self.wfile.write(f"data: {stamp()}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.2)


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
