"""A small, quick program that listens: a short answer, bytes both ways, an echo on a WebSocket.

It runs in a workspace and, for comparison, beside the load generator; so the standard library is all it has.
"""

import asyncio
import base64
import hashlib
import sys

BLOCK = bytes(1 << 16)
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def serve(reader, writer):
    """Answer the requests of one connection."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.split(b"\r\n")
            target = lines[0].split(b" ")[1]
            fields = {}
            for line in lines[1:-2]:
                name, _, value = line.partition(b":")
                fields[name.lower()] = value.strip()
            if b"upgrade" in fields:
                await echo(reader, writer, fields[b"sec-websocket-key"])
                return
            await answer(reader, writer, target, int(fields.get(b"content-length", 0)))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def answer(reader, writer, target, announced):
    """Answer one request: ``/N`` is N bytes, and what is sent is counted."""
    taken = 0
    while taken < announced:
        taken += len(await reader.read(min(1 << 18, announced - taken)))
    size = int(target[1:] or 0)
    body = b"" if size else b"%d" % taken
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (size or len(body)) + body)
    for begin in range(0, size, len(BLOCK)):
        writer.write(BLOCK[: size - begin])
        await writer.drain()


async def echo(reader, writer, key):
    """Echo short messages."""
    accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
    writer.write(
        b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-accept: " + accept + b"\r\n\r\n"
    )
    while True:
        head = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        data = await reader.readexactly(head[1] & 127)
        if head[0] & 15 == 8:
            return
        plain = bytes(each ^ mask[index % 4] for index, each in enumerate(data))
        writer.write(bytes((head[0], len(plain))) + plain)


async def main():
    """Serve on the port that is named."""
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), limit=1 << 18)
    print("serving on", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
