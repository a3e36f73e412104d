"""The first administrator is made once."""

from __future__ import annotations

from actors.core.records.accounts import Role, UserRecord
from cluster.clock import SystemClock
from cluster.settings import Settings
from serve_app.auth.first_admin import ensure_admin


class MemoryUsers:
    def __init__(self) -> None:
        self.records: dict[str, UserRecord] = {}

    async def create(self, record):
        self.records[record.user_id] = record
        return record

    async def by_email(self, email):
        return next((r for r in self.records.values() if r.email == email), None)

    async def page(self, *, after=None, limit=1000):
        return [r for _, r in sorted(self.records.items()) if after is None or r.user_id > after][
            :limit
        ]

    async def change(self, user_id, *, now, **changes):
        return self.put(user_id, **{k: v for k, v in changes.items() if v is not None})

    def put(self, user_id, **changes):
        self.records[user_id] = self.records[user_id].model_copy(update=changes)
        return self.records[user_id]


async def first(users, **settings):
    return await ensure_admin(users, Settings(**settings), lambda _: "made-up", SystemClock())


async def test_an_administrator_is_made_once_and_its_password_shown_once():
    users = MemoryUsers()
    assert await first(users) == ("admin@localhost", "made-up")
    assert await first(users) == ("admin@localhost", None)
    assert len(users.records) == 1


async def test_the_settings_name_the_administrator_and_change_its_password():
    users = MemoryUsers()
    named = {"admin_email": "ada@example.com", "admin_password": "first-password"}
    assert await first(users, **named) == ("ada@example.com", None)
    [before] = users.records.values()
    await first(users, **named)
    assert list(users.records.values()) == [before]
    await first(users, **(named | {"admin_password": "second-password"}))
    [after] = users.records.values()
    assert after.password_hash != before.password_hash
    users.put(after.user_id, role=Role.USER)
    await first(users, admin_email="ada@example.com")
    assert next(iter(users.records.values())).role is Role.ADMIN
