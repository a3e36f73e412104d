"""One user fills the disk of a container: refused in words, felt by nobody else, made good by deleting."""

from __future__ import annotations

import os

import pytest

from coditect import AsyncClient, DiskQuotaExceeded
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk"),
]
MIB = 1 << 20
SIZE = 96 * MIB


async def test_a_full_disk_is_its_users_alone_and_names_the_quota(tmp_path):
    limits = {"container_disk": SIZE, "container_inodes": 5000}
    (tmp_path / "data").mkdir()
    with ServerProcess(tmp_path / "data", pool_size=1, dashboard=False, **limits) as server:
        async with AsyncClient(server.url, timeout_seconds=60) as client:
            first = (await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)).session_id
            second = (await client.open_session("second")).session_id
            disk = (await client.session(first)).disk
            assert disk is not None
            assert 0.9 * SIZE < disk.bytes.limit < 1.2 * SIZE
            assert disk.bytes.used < 4 * MIB
            assert 0 < disk.files.used < 100 < disk.files.limit

            filled = await client.exec(
                first, ["sh", "-c", "fallocate -l 10G big; head -c 1G /dev/zero > big"]
            )
            assert filled.stderr.count("No space left on device") == 2
            with pytest.raises(DiskQuotaExceeded) as refused:
                await client.write_file(first, "more", bytes(MIB))
            problem = refused.value.problem
            assert (refused.value.status, problem["resource"]) == (507, "container_disk")
            assert problem["used"] <= problem["limit"] == disk.bytes.limit
            assert (await client.session(first)).disk.bytes.used > 0.9 * SIZE

            # Whoever else there is does not notice, and its owner can delete and go on.
            assert (await client.write_file(second, "mine", bytes(MIB))).size == MIB
            await client.delete_file(first, "big")

            async def saved() -> bool:
                try:
                    return (await client.write_file(first, "more", bytes(MIB))).size == MIB
                except DiskQuotaExceeded:
                    return False  # the archive still reads the file, which holds its blocks

            await wait_until(saved)

            many = "mkdir d; for i in $(seq 9000); do : > d/$i || break; done"
            assert "No space left" in (await client.exec(first, ["sh", "-c", many])).stderr
            with pytest.raises(DiskQuotaExceeded) as refused:
                await client.write_file(first, "another", b"x")
            assert refused.value.problem["resource"] == "container_inodes"
            assert (await client.write_file(second, "another", b"x")).size == 1

            # What is in the disk is there after the container, and after a sleep.
            await client.exec(first, ["rm", "-r", "d"], timeout_seconds=60)
            await client.hibernate(first)
            await client.resume(first)
            assert await client.read_file(first, "more") == bytes(MIB)
