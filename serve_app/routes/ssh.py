"""Public keys of an account, and where SSH is spoken."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from actors.core.records.accounts import SshKeyRecord
from serve_app.routes.common import SIGNED, CallerDep, IngressDep, VisitorDep, base_url, may_fail
from serve_app.schemas.ssh import MAX_NAME, NewSshKey, SshKey, SshKeys, SshServer
from serve_app.ssh import host_keys, keys, places

router = APIRouter(prefix="/api/v1", tags=["ssh"], dependencies=SIGNED)

MAX_KEYS = 50
"""Keys of one account."""

KeyId = Annotated[str, Path(max_length=64, examples=["k-3fq2h5vtklhb2k7n4zqa"])]


@router.get("/ssh", responses=may_fail(401))
async def server(request: Request, _: CallerDep, ingress: IngressDep) -> SshServer:
    """Return where SSH is spoken, and the server's key, for `known_hosts`."""
    line = host_keys.public_line(await host_keys.load(ingress.deps.keys))
    place = places.read(ingress.deps.settings.data_dir)
    return SshServer(
        host=places.reachable(place, base_url(request)),
        port=place.port if place is not None else None,
        host_key=line,
        fingerprint=keys.parse(line).fingerprint,
    )


@router.get("/ssh-keys", responses=may_fail(401))
async def list_keys(caller: CallerDep, ingress: IngressDep) -> SshKeys:
    """List one's own public keys."""
    found = await ingress.deps.ssh_keys.of_user(caller.user_id)
    return SshKeys(keys=[SshKey.of(record) for record in found])


@router.post("/ssh-keys", status_code=201, responses=may_fail(400, 401, 403, 409, 413, 422, 507))
async def add_key(
    body: NewSshKey, caller: CallerDep, ingress: IngressDep, visitor: VisitorDep
) -> SshKey:
    """Add a public key, with which SSH clients sign in from now on.

    Ed25519, ECDSA, RSA of 3072 bits or more, and those of security keys; no options, no certificates.
    """
    key, deps = keys.parse(body.key), ingress.deps
    record = SshKeyRecord(
        key_id=deps.new_id("k"),
        tenant_id=deps.settings.tenant,
        user_id=caller.user_id,
        name=(body.name or key.comment or key.algorithm)[:MAX_NAME],
        public_key=key.line,
        fingerprint=key.fingerprint,
        created_at=deps.clock.now(),
    )
    await deps.ssh_keys.add(record, limit=MAX_KEYS)
    await ingress.sign_in.note(caller.user_id, "ssh_key.add", f"ssh-keys/{record.key_id}", visitor)
    return SshKey.of(record)


@router.delete("/ssh-keys/{key_id}", status_code=204, responses=may_fail(401, 403, 404))
async def remove_key(
    key_id: KeyId, caller: CallerDep, ingress: IngressDep, visitor: VisitorDep
) -> None:
    """Take a public key away: nobody signs in with it any more, and who has is thrown out."""
    now = ingress.deps.clock.now()
    await ingress.deps.ssh_keys.remove(caller.user_id, key_id, now=now)
    ingress.ended.add(caller.user_id, key_id, now)
    await ingress.sign_in.note(caller.user_id, "ssh_key.remove", f"ssh-keys/{key_id}", visitor)
