"""A server in this process for each test; CODI is staged once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from coditect import AsyncClient
from tests.fakes.ingress_fakes import ADMIN_EMAIL, Rig
from tests.fakes.ingress_fakes import rig as make_rig


@pytest.fixture(scope="session")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


@pytest.fixture
async def rig(tmp_path, stage) -> AsyncIterator[Rig]:
    async with make_rig(tmp_path, stage) as made:
        yield made


@pytest.fixture
async def ada(rig: Rig) -> AsyncIterator[AsyncClient]:
    async with await rig.sign_in() as client:
        yield client


@pytest.fixture
async def admin(rig: Rig) -> AsyncIterator[AsyncClient]:
    async with await rig.sign_in(ADMIN_EMAIL) as client:
        yield client


@pytest.fixture
async def session_id(ada: AsyncClient) -> str:
    return (await ada.sessions())[0].session_id
