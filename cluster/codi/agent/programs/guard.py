"""Admits requests: by the secret, the one session, and the epoch that never goes back. No I/O."""

from __future__ import annotations

from _operator import _compare_digest as compare_digest  # hmac's, without importing OpenSSL
from collections.abc import Callable, Mapping

from cluster.codi.agent.errors import AgentError, invalid

_MAX_EPOCH = (1 << 53) - 1
_MAX_SESSION_ID = 128


class Guard:
    """Remembers the session that bound this CODI and the highest epoch seen."""

    def __init__(self, secret: str, epoch: int = 0, *, digest: str = "", boot: str = "") -> None:
        self._secret = secret.encode()
        self._digest = digest.encode()
        self._boot = boot
        self.epoch = epoch
        self.session_id: str | None = None
        self.on_change: Callable[[], None] = lambda: None

    def check_secret(self, headers: Mapping[str, str]) -> None:
        """Raise ``unauthorized`` unless the caller knows the secret."""
        given = headers.get("x-codi-secret", "").encode("latin-1")
        known = self._secret
        if self._digest:
            from hashlib import sha256  # noqa: PLC0415 - only where nothing else is known

            given, known = sha256(given).hexdigest().encode(), self._digest
        if not compare_digest(given, known):
            raise AgentError(401, "unauthorized", "x-codi-secret is missing or wrong")

    def check_boot(self, headers: Mapping[str, str]) -> None:
        """Raise ``restarted`` for a caller who means a former start of this container."""
        if headers.get("x-codi-boot", self._boot) != self._boot:
            raise AgentError(503, "restarted", "this container was started anew")

    def admit(self, headers: Mapping[str, str]) -> None:
        """Check a request and take over its epoch.

        Raises ``unauthorized``, ``another_session``, ``fenced`` (an older epoch, with
        the ``epoch`` that rules) or ``invalid_argument``; then nothing has changed.
        """
        self.check_secret(headers)
        self.check_boot(headers)
        session_id = headers.get("x-codi-session", "")
        if not 0 < len(session_id) <= _MAX_SESSION_ID:
            raise invalid(f"x-codi-session: 1 to {_MAX_SESSION_ID} characters")
        epoch = _epoch(headers.get("x-codi-epoch", ""))
        if self.session_id not in {None, session_id}:
            raise AgentError(403, "another_session", "this container belongs to another session")
        if epoch < self.epoch:
            raise AgentError(
                409, "fenced", f"epoch {epoch} is over, {self.epoch} rules", epoch=self.epoch
            )
        if (self.session_id, self.epoch) != (session_id, epoch):
            self.session_id, self.epoch = session_id, epoch
            self.on_change()


def _epoch(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= _MAX_EPOCH:
        return int(text)
    raise invalid("x-codi-epoch: a number")
