from __future__ import annotations

import pytest_asyncio

from cluster.dev.cloud_run.emulator import Emulator
from cluster.dev.cloud_run.identity.tokens import new_key
from tests.emulators.cloud_run import Pages, connected, hello

KEY = new_key()


@pytest_asyncio.fixture
async def pages():
    return Pages(hello)


@pytest_asyncio.fixture
async def emulator(pages):
    async with Emulator(pages, key=KEY) as running:
        yield running


@pytest_asyncio.fixture
async def client(emulator):
    async with connected(emulator) as client:
        yield client
