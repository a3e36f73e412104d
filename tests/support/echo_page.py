"""A page and a WebSocket that it speaks to, without a library: what people start in a terminal."""

import base64
import hashlib
import http.server
import socketserver
import sys

PAGE = b"""<!doctype html><title>inside</title><h1>hello from inside</h1><p id="said">nothing yet</p><script>
const socket = new WebSocket(`ws://${location.host}/ws`);
socket.onopen = () => socket.send("ping");
socket.onmessage = (event) => { document.getElementById("said").textContent = event.data; };
</script>"""
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("upgrade", "").lower() != "websocket":
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)
            return
        key = self.headers["sec-websocket-key"].encode()
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "upgrade")
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest()).decode()
        self.send_header("sec-websocket-accept", accept)
        self.end_headers()
        head = self.rfile.read(2)
        mask = self.rfile.read(4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(head[1] & 127)))
        text = b"echo: " + data
        self.wfile.write(bytes([0x81, len(text)]) + text)
        self.rfile.read(1)
        self.close_connection = True


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    port = int(sys.argv[1])
    print(f"serving on http://localhost:{port}/", flush=True)  # noqa: T201
    Server(("127.0.0.1", port), Handler).serve_forever()
