"""Who may call a service: the check of identity tokens at its front door. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cluster.dev.cloud_run.identity.access import EVERYBODY, INVOKE, Access
from cluster.dev.cloud_run.identity.tokens import InvalidToken, TokenIssuer

Headers = Sequence[tuple[bytes, bytes]]
_REMOVED = b"SIGNATURE_REMOVED_BY_GOOGLE"
_OWN, _COMMON = b"x-serverless-authorization", b"authorization"


@dataclass(frozen=True, slots=True)
class Door:
    """What of a service its front door knows."""

    name: str
    project: str
    audiences: Collection[str]
    checks_invokers: bool = True
    is_open: bool = True


class Refused(Exception):
    """A request that goes no further: status, and what its ``www-authenticate`` says, if anything."""

    def __init__(self, status: int, challenge: str = "") -> None:
        super().__init__(status, challenge)
        self.status = status
        self.challenge = challenge


def admit(headers: Headers, door: Door, issuer: TokenIssuer, access: Access) -> Headers:
    """Return the headers for the container of a request that may enter. Raises Refused.

    ``X-Serverless-Authorization`` goes before ``Authorization``, which then is the container's own. The
    container sees no signature of a token that was checked.
    """
    if not door.is_open:
        raise Refused(404)
    names = {name for name, _ in headers}
    if not door.checks_invokers or access.permits(EVERYBODY, INVOKE, door.project, door.name):
        return headers
    header = _OWN if _OWN in names else _COMMON
    given = next((value for name, value in headers if name == header), None)
    if given is None:
        raise Refused(403)
    scheme, _, token = given.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refused(401, 'Bearer error="invalid_token"')
    try:
        identity = issuer.identify(token.strip())
    except InvalidToken as error:
        raise Refused(401, f'Bearer error="invalid_token" error_description="{error}"') from error
    if identity.audience not in door.audiences:
        raise Refused(401, 'Bearer error="invalid_token" error_description="wrong audience"')
    if not access.permits(identity.email, INVOKE, door.project, door.name):
        raise Refused(403, 'Bearer error="insufficient_scope"')
    unsigned = token.strip().rpartition(".")[0].encode("latin-1") + b"." + _REMOVED
    return [(name, b"Bearer " + unsigned if name == header else value) for name, value in headers]
