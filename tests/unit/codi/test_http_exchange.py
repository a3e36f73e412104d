"""One request, one answer, and a clear error for whatever else comes."""

import asyncio

import pytest

from cluster.http_exchange import exchange


@pytest.fixture
async def served():
    """Serve one answer to everybody; yield what sets it, and what was asked last."""
    answer, asked = [b""], []

    async def serve(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer[0])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield answer, asked, f"127.0.0.1:{port}"
    server.close()


async def ask(address, method="GET", content=b""):
    return await exchange(address, method, "/x", [("a", "b")], content, largest=8)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", (200, b"hi")),
        (
            b"HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            (404, b"hi"),
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nnine bytes", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi", None),
        (b"SSH-2.0-OpenSSH\r\n\r\n", None),
    ],
)
async def test_an_answer_is_read_or_is_none(served, answer, said):
    served[0][0] = answer
    if said is None:
        with pytest.raises(ValueError, match="answer"):
            await ask(served[2])
    else:
        assert await ask(served[2]) == said


async def test_a_connection_that_ends_without_an_answer_is_broken(served):
    with pytest.raises(ConnectionResetError):
        await ask(served[2])


async def test_the_request_is_whole(served):
    served[0][0] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    await ask(served[2], "POST", b"body")
    assert served[1][0].startswith(b"POST /x HTTP/1.1\r\n")
    assert b"a: b\r\n" in served[1][0]
    assert b"content-length: 4\r\n" in served[1][0]
