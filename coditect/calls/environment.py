"""Calls for what one's programs find in their environment: variables, secrets, preferences."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from coditect import addresses
from coditect.connection import Connection, given
from coditect.models import Preferences, Secret, Variable


class EnvironmentCalls(Connection):
    """Calls for what one's programs find in their environment.

    What is set is there in shells and programs that start from then on, in all workspaces of the account.
    """

    async def variables(self) -> AsyncIterator[Variable]:
        """Yield one's variables, by name."""
        async for each in self._named("variables"):
            yield Variable.from_json(each)

    async def variable(self, name: str) -> Variable:
        """Return a variable. Raises NotFound."""
        return Variable.from_json((await self._request("GET", _path("variables", name))).json())

    async def set_variable(self, name: str, value: str) -> Variable:
        """Set a variable.

        Raises InvalidRequest for a name that is none or that the workspace itself sets, Conflict for one that
        a secret has, QuotaExceeded.
        """
        answer = await self._request("PUT", _path("variables", name), json={"value": value})
        return Variable.from_json(answer.json())

    async def delete_variable(self, name: str) -> None:
        """Take a variable back. Raises NotFound."""
        await self._request("DELETE", _path("variables", name))

    async def secrets(self) -> AsyncIterator[Secret]:
        """Yield one's secrets, by name, without their values."""
        async for each in self._named("secrets"):
            yield Secret.from_json(each)

    async def secret(self, name: str) -> Secret:
        """Return what may be shown of a secret. Raises NotFound."""
        return Secret.from_json((await self._request("GET", _path("secrets", name))).json())

    async def set_secret(
        self,
        name: str,
        value: str,
        *,
        host: str | None = None,
        use: str | None = None,
        username: str | None = None,
        header: str | None = None,
        https: bool | None = None,
    ) -> Secret:
        """Set a secret, whose value nobody is shown again; errors are those of ``set_variable``.

        With a ``host`` (and port) programs do not find it: the way out of the workspace adds it to requests
        to that host, as ``use`` says: ``bearer`` (the default), ``basic`` with a ``username``, or ``header``
        with the name of a ``header``. With ``https`` to requests by HTTPS, for which the way out opens the
        connections to this host; else to those by plain HTTP. Conflict also for a header that another secret
        is added to there.
        """
        body = given(value=value, host=host, use=use, username=username, header=header, https=https)
        answer = await self._request("PUT", _path("secrets", name), json=body)
        return Secret.from_json(answer.json())

    async def delete_secret(self, name: str) -> None:
        """Forget a secret. Raises NotFound."""
        await self._request("DELETE", _path("secrets", name))

    async def preferences(self) -> Preferences:
        """Return what the account prefers for its workspaces."""
        answer = await self._request("GET", "/api/v1/account/preferences")
        return Preferences.from_json(answer.json())

    async def change_preferences(self, /, **changes: str | None) -> Preferences:
        """Change preferences: ``dotfiles_repository``, ``shell``, ``time_zone``; None takes one back."""
        answer = await self._request("PATCH", "/api/v1/account/preferences", json=changes)
        return Preferences.from_json(answer.json())

    async def _named(self, kind: str) -> AsyncIterator[Any]:
        after: str | None = None
        while True:
            answer = await self._request("GET", f"/api/v1/{kind}", params=given(after=after))
            body = answer.json()
            for each in body[kind]:
                yield each
            after = body.get("next")
            if after is None:
                return


def _path(kind: str, name: str) -> str:
    return f"/api/v1/{kind}/{addresses.segment(name, 'name')}"
