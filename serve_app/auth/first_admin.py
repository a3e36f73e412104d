"""The first administrator."""

from __future__ import annotations

from collections.abc import Callable

from actors.core.errors.requests import AlreadyExists
from actors.core.ports.clock import Clock
from actors.core.records.accounts import Role, UserRecord
from cluster.identifiers import new_id
from cluster.settings import Settings
from serve_app.auth.passwords import Passwords
from serve_app.dependencies import Users

DEFAULT_EMAIL = "admin@localhost"
PASSWORD_BYTES = 12
_PAGE = 1000


async def ensure_admin(
    users: Users, settings: Settings, random_text: Callable[[int], str], clock: Clock
) -> tuple[str, str | None]:
    """Make sure that somebody can administer; return their address and a password to show once.

    With ``admin_email`` in the settings that account is made unless it exists; ``admin_password``
    is its password then, and also of an account that exists, so that it can be changed there.
    Without, an account is made only when there is no administrator yet. The password is None when
    the operator knows it, from the settings or from the first time.
    """
    given = settings.admin_password.get_secret_value() if settings.admin_password else None
    if settings.admin_email is None:
        known = await _any_admin(users)
        if known is not None:
            return known.email, None
    email = settings.admin_email or DEFAULT_EMAIL
    password = given or random_text(PASSWORD_BYTES)
    passwords = Passwords(parallel=1, queue=1)
    try:
        existing = await users.by_email(email)
        if existing is None:
            await _create(users, settings, email, await passwords.hash(password), clock)
            return email, None if given else password
        hashed = None
        if given is not None and not await passwords.verify(existing.password_hash, given):
            hashed = await passwords.hash(given)
        await users.change(existing.user_id, now=clock.now(), password_hash=hashed, role=Role.ADMIN)
    finally:
        passwords.close()
    return email, None


async def _create(
    users: Users, settings: Settings, email: str, password_hash: str, clock: Clock
) -> None:
    record = UserRecord(
        user_id=new_id("u"),
        tenant_id=settings.tenant,
        email=email,
        role=Role.ADMIN,
        password_hash=password_hash,
        created_at=clock.now(),
    )
    try:
        await users.create(record)
    except AlreadyExists:
        return  # made by another server on the same store, a moment ago


async def _any_admin(users: Users) -> UserRecord | None:
    after: str | None = None
    while True:
        page = await users.page(after=after, limit=_PAGE)
        for user in page:
            if user.role is Role.ADMIN and not user.disabled:
                return user
        if len(page) < _PAGE:
            return None
        after = page[-1].user_id
