"""Large files stream through every process of a real server: no one of them holds a file in memory.

``benchmarks/large_files.py`` does the same with 2 GiB.
"""

from __future__ import annotations

import pytest

from tests.support.large_files import Content, Memory, program_sha256, sha256_of, until_kept

DENSE, SPARSE = 384 << 20, 96 << 20
MOST_GROWTH = 300 << 20
"""Of which most are blocks that the C library keeps; 2 GiB take no more."""
pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


@pytest.mark.parametrize(("size", "sparse"), [(DENSE, False), (SPARSE, True)])
async def test_a_large_file_is_saved_and_read_without_being_held(person, server, size, sparse):
    client, session_id = person.client, person.session_id
    content, memory = Content(1, size, sparse=sparse), Memory(server)
    async with memory.watched():
        receipt = await client.write_file(session_id, "large", content.blocks())
        assert (receipt.size, receipt.durable) == (size, True)
        expected = content.sha256, size
        assert await sha256_of(client.stream_file(session_id, "large")) == expected
        kept = client.stream_file(session_id, "large", version=receipt.version)
        assert await sha256_of(kept) == expected
        assert await program_sha256(client, session_id, "large") == content.sha256
        # the round that follows the directory may have kept the same content first
        assert await until_kept(client, session_id, "large", size) <= receipt.version
        await client.delete_file(session_id, "large")
    growth, name = memory.growth()
    assert growth < MOST_GROWTH, name
