"""Signing in and out: passwords, tokens, and the session that is opened with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from actors.core.errors.access import TokenReused, Unauthenticated, WrongPassword
from actors.core.errors.base import CoditectError, Unavailable
from actors.core.errors.limits import ContainersExceeded, TooManyRequests
from actors.core.errors.requests import PreconditionFailed
from actors.core.names import DEFAULT_SESSION
from actors.core.ports.clock import Clock
from actors.core.records.accounts import AuditEntry, UserRecord
from actors.core.records.sessions import SessionRecord
from cluster.emails import key_of
from cluster.store.layers.accounts.attempts import Asked, Outcome
from serve_app.auth.audit import AuditWriter
from serve_app.auth.identity import Caller
from serve_app.auth.passwords import Passwords
from serve_app.auth.refresh_tokens import RefreshTokenRotation
from serve_app.auth.revocations import Revocations
from serve_app.auth.throttle import LoginThrottle, Trial, account_digest, whole_address
from serve_app.auth.tokens import Login, Signer
from serve_app.dependencies import SessionReader, Users
from serve_app.sessions.gateway import SessionGateway
from serve_app.telemetry.metrics import IngressMetrics

_REFUSED = "the address or the password is wrong"


@dataclass(frozen=True, slots=True)
class Visitor:
    """The origin of a request, for the audit trail."""

    address: str
    agent: str
    device: str = ""
    """The device cookie, if it sent one."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Tokens of a signed-in client. ``expires_in``: seconds for which the access token is valid."""

    user: UserRecord
    access_token: str
    refresh_token: str
    expires_in: float
    ticket: str = ""
    """A ticket for a first socket, of a login."""
    device: str = ""
    """A token for the browser's next sign-in: see ``cluster.store.layers.accounts.attempts``."""


@dataclass(frozen=True, slots=True)
class SignInTools:
    """Tools of signing in."""

    tenant_id: str
    access_ttl: float
    users: Users
    ledger: SessionReader
    passwords: Passwords
    throttle: LoginThrottle
    signer: Signer
    refresh: RefreshTokenRotation
    ended: Revocations
    gateway: SessionGateway
    audit: AuditWriter
    metrics: IngressMetrics
    clock: Clock
    new_id: Callable[[str], str]


class SignIn:
    """Signs people in and out."""

    def __init__(self, tools: SignInTools) -> None:
        self._tools = tools

    async def login(
        self, email: str, password: str, key: str, visitor: Visitor
    ) -> tuple[Pair, SessionRecord]:
        """Check a password, open the user's session, and give out tokens.

        An unknown address, a wrong password and a disabled account get the same answer after the
        same work. Raises Unauthenticated, TooManyRequests, Busy.
        """
        tools = self._tools
        asked = self._asked(email, visitor)
        async with tools.throttle.trial(asked) as trial:
            user = await tools.users.by_email(email)
            # The session is looked up while the password is checked, which takes longer anyway.
            looking = asyncio.create_task(self._known_session(user))
            try:
                fits = await self._fits(trial, user, password, asked.address)
                known = await looking
            finally:
                looking.cancel()
            if user is None or user.disabled or not fits:
                await self._refuse(user, visitor)
                raise Unauthenticated(_REFUSED)
            trial.outcome = Outcome.PASSED
        try:
            pair, session = await self._admit(user, key, known)
        except CoditectError as error:
            tools.metrics.signed_in(error.code)
            raise
        tools.metrics.signed_in("ok")
        await self.note(user.user_id, "login", f"session/{session.session_id}", visitor)
        device = tools.signer.device(
            asked.account, asked.device or tools.new_id("d"), now=tools.clock.now()
        )
        return replace(pair, device=device), session

    async def refresh(self, presented: str, visitor: Visitor) -> Pair:
        """Trade a refresh token. Raises Unauthenticated."""
        tools = self._tools
        now = tools.clock.now()
        try:
            refreshed = await tools.refresh.trade(presented, now)
        except TokenReused as reused:
            tools.ended.add(reused.user_id, reused.family, now)
            resource = f"user/{reused.user_id}"
            await self.note(reused.user_id, "refresh.reuse", resource, visitor, "refused")
            raise
        login = refreshed.login
        user = await tools.users.by_id(login.user_id)
        if user is None or not user.admits(login.family, login.generation):
            await self._end(login)
            raise Unauthenticated("the account was changed or is not there; sign in again")
        return self._pair(user, login, refreshed.token)

    async def logout(self, presented: str | None, current: Login | None, visitor: Visitor) -> None:
        """End the login of a refresh token, and ``current``, an access token's. Takes bad ones."""
        ending = set() if current is None else {current}
        if presented:
            with suppress(Unauthenticated):
                ending.add(await self._tools.refresh.login_of(presented))
        for login in ending:
            await self._end(login)
        for user_id in {login.user_id for login in ending}:
            await self.note(user_id, "logout", f"user/{user_id}", visitor)

    async def change_password(
        self, caller: Caller, current: str, new: str, visitor: Visitor
    ) -> None:
        """Change the caller's own password: their other logins end, the one that asks goes on.

        Raises WrongPassword, InvalidArgument, TooManyRequests.
        """
        tools, login = self._tools, caller.login
        resource = f"user/{login.user_id}"
        # A counter of its own: neither a stranger at the door nor whoever found an open page here
        # makes the owner wait at the other place.
        async with tools.throttle.trial(Asked(login.user_id, device=login.family)) as trial:
            user = await tools.users.by_id(login.user_id)
            if not await self._fits(trial, user, current, visitor.address) or user is None:
                await self.note(login.user_id, "password.change", resource, visitor, "refused")
                raise WrongPassword
            trial.outcome = Outcome.PASSED
        hashed = await tools.passwords.hash(new, party=login.user_id)
        now = tools.clock.now()
        try:
            changed = await tools.users.change(
                login.user_id,
                now=now,
                password_hash=hashed,
                kept_login=login.family,
                replacing=user.password_hash,
            )
        except PreconditionFailed:
            raise WrongPassword from None
        tools.ended.add_account(changed, now)
        await self.note(login.user_id, "password.change", resource, visitor)

    async def note(
        self, user_id: str | None, action: str, resource: str, visitor: Visitor, result: str = "ok"
    ) -> None:
        """Write a line of the audit trail before anybody is answered; see ``AuditWriter.write``."""
        await self._tools.audit.write(self._entry(user_id, action, resource, visitor, result))

    def note_later(
        self, user_id: str | None, action: str, resource: str, visitor: Visitor, result: str
    ) -> None:
        """Have a line of the audit trail written that nobody waits for."""
        self._tools.audit.note(self._entry(user_id, action, resource, visitor, result))

    def _entry(
        self, user_id: str | None, action: str, resource: str, visitor: Visitor, result: str
    ) -> AuditEntry:
        return AuditEntry(
            timestamp=self._tools.clock.now(),
            tenant_id=self._tools.tenant_id,
            user_id=user_id,
            action=action,
            resource=resource,
            ip_address=visitor.address,
            user_agent=visitor.agent[:256],
            result=result,
        )

    async def _end(self, login: Login) -> None:
        now = self._tools.clock.now()
        await self._tools.refresh.revoke_family(login.family, now)
        self._tools.ended.add(login.user_id, login.family, now)

    def _asked(self, email: str, visitor: Visitor) -> Asked:
        account = account_digest(key_of(email))
        device = self._tools.signer.read_device(visitor.device, account, self._tools.clock.now())
        return Asked(account, whole_address(visitor.address), device)

    async def _fits(self, trial: Trial, user: UserRecord | None, password: str, party: str) -> bool:
        """Return whether a password fits. An attempt for which there was no room is not counted."""
        stored = user.password_hash if user else None
        try:
            return await self._tools.passwords.verify(stored, password, party=party)
        except TooManyRequests:
            trial.outcome = Outcome.UNCHECKED
            raise

    async def _known_session(self, user: UserRecord | None) -> SessionRecord | None:
        if user is None:
            return None
        try:
            return await self._tools.ledger.session_of_user(user.user_id, DEFAULT_SESSION)
        except Unavailable:
            return None  # asked again when the session is opened, and answered there

    async def _admit(
        self, user: UserRecord, key: str, known: SessionRecord | None
    ) -> tuple[Pair, SessionRecord]:
        tools = self._tools
        # Of the generation whose password was checked: a change meanwhile ends this login, too.
        login = Login(user.user_id, tools.refresh.new_family(), user.generation)
        beginning = asyncio.create_task(tools.refresh.begin(login, tools.clock.now()))
        try:
            try:
                session, _ = await tools.gateway.open(
                    user.user_id, DEFAULT_SESSION, key, known=known
                )
            except ContainersExceeded:
                # It stays asleep: whoever signs in has to be able to put another one to sleep.
                resting = await tools.ledger.session_of_user(user.user_id, DEFAULT_SESSION)
                if resting is None:
                    raise
                session = resting
            pair = self._pair(user, login, await beginning)
            ticket = tools.signer.ticket(login, user.role, now=tools.clock.now())
            return replace(pair, ticket=ticket), session
        finally:
            beginning.cancel()

    def _pair(self, user: UserRecord, login: Login, refresh_token: str) -> Pair:
        tools = self._tools
        access = tools.signer.access_token(
            login, user.role, now=tools.clock.now(), ttl=tools.access_ttl
        )
        return Pair(user, access, refresh_token, tools.access_ttl)

    async def _refuse(self, user: UserRecord | None, visitor: Visitor) -> None:
        tools = self._tools
        tools.metrics.signed_in("refused")
        resource = f"user/{user.user_id}" if user else "user"
        await self.note(user.user_id if user else None, "login", resource, visitor, "refused")
