"""What the caller's programs find in their environment: variables, secrets, preferences."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from serve_app.routes.common import SIGNED, CallerDep, IngressDep, may_fail
from serve_app.schemas.environment import (
    NAME,
    NewSecret,
    NewVariable,
    Preferences,
    PreferencesChange,
    Secret,
    Secrets,
    Variable,
    Variables,
)

router = APIRouter(prefix="/api/v1", tags=["environment"], dependencies=SIGNED)

Name = Annotated[str, Path(json_schema_extra=NAME)]
After = Annotated[str | None, Query(max_length=128, description="the last name that is known")]
Limit = Annotated[int, Query(ge=1, le=1000)]
_PUT = may_fail(400, 401, 403, 409, 413, 422, 507)


@router.get("/variables", responses=may_fail(401, 422))
async def list_variables(
    caller: CallerDep, ingress: IngressDep, after: After = None, limit: Limit = 200
) -> Variables:
    """List one's variables, by name."""
    store = ingress.deps.environments.store
    records = await store.variables(caller.user_id, after=after, limit=limit)
    following = records[-1].name if len(records) == limit else None
    return Variables(variables=[Variable.of(each) for each in records], next=following)


@router.get("/variables/{name}", responses=may_fail(401, 404))
async def get_variable(name: Name, caller: CallerDep, ingress: IngressDep) -> Variable:
    """Return a variable."""
    return Variable.of(await ingress.deps.environments.store.variable(caller.user_id, name))


@router.put(
    "/variables/{name}", responses=_PUT | {201: {"model": Variable, "description": "It is new"}}
)
async def set_variable(
    name: Name, response: Response, caller: CallerDep, ingress: IngressDep, body: NewVariable
) -> Variable:
    """Set a variable: shells and programs that start from now on find it, in all workspaces of the account.

    400 for a name that the workspace itself sets (`PATH`, `LD_…`, proxies …), 409 for one that a secret
    has, 507 when there are as many, or as long ones, as the account may have.
    """
    record, created = await ingress.deps.environments.put_variable(caller.user_id, name, body.value)
    response.status_code = 201 if created else 200
    return Variable.of(record)


@router.delete("/variables/{name}", status_code=204, responses=may_fail(401, 403, 404))
async def delete_variable(name: Name, caller: CallerDep, ingress: IngressDep) -> None:
    """Take a variable back; what runs keeps it."""
    await ingress.deps.environments.store.delete_variable(caller.user_id, name)


@router.get("/secrets", responses=may_fail(401, 422))
async def list_secrets(
    caller: CallerDep, ingress: IngressDep, after: After = None, limit: Limit = 200
) -> Secrets:
    """List one's secrets, by name, without their values."""
    environments = ingress.deps.environments
    records = await environments.store.secrets(caller.user_id, after=after, limit=limit)
    following = records[-1].name if len(records) == limit else None
    shown = [Secret.of(each, locked=environments.is_locked(each)) for each in records]
    return Secrets(secrets=shown, next=following)


@router.get("/secrets/{name}", responses=may_fail(401, 404))
async def get_secret(name: Name, caller: CallerDep, ingress: IngressDep) -> Secret:
    """Return what may be shown of a secret."""
    environments = ingress.deps.environments
    record = await environments.store.secret(caller.user_id, name)
    return Secret.of(record, locked=environments.is_locked(record))


@router.put(
    "/secrets/{name}", responses=_PUT | {201: {"model": Secret, "description": "It is new"}}
)
async def set_secret(
    name: Name, response: Response, caller: CallerDep, ingress: IngressDep, body: NewSecret
) -> Secret:
    """Set a secret; nobody is shown its value again. Names and limits are those of variables.

    Shells and programs that start from now on find it in their environment, unless it is for a `host`: then
    none finds it, and the way out of the workspace adds it to requests to that host. 409 also for a header
    that another secret is added to there.
    """
    environments = ingress.deps.environments
    record, created = await environments.put_secret(
        caller.user_id, name, body.value.get_secret_value(), body.host, body.binding
    )
    response.status_code = 201 if created else 200
    return Secret.of(record, locked=False)


@router.delete("/secrets/{name}", status_code=204, responses=may_fail(401, 403, 404))
async def delete_secret(name: Name, caller: CallerDep, ingress: IngressDep) -> None:
    """Forget a secret; what runs keeps it."""
    await ingress.deps.environments.store.delete_secret(caller.user_id, name)


@router.get("/account/preferences", responses=may_fail(401))
async def get_preferences(caller: CallerDep, ingress: IngressDep) -> Preferences:
    """Return what one prefers for one's workspaces."""
    return Preferences.of(await ingress.deps.environments.store.preferences(caller.user_id))


@router.patch("/account/preferences", responses=may_fail(400, 401, 403, 413, 422))
async def change_preferences(
    caller: CallerDep, ingress: IngressDep, body: PreferencesChange
) -> Preferences:
    """Change what one prefers; shells that start from now on have it, dotfiles new workspaces."""
    record = await ingress.deps.environments.change_preferences(caller.user_id, **body.changes())
    return Preferences.of(record)
