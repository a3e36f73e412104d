"""The metadata server, as google-auth asks it, and the way from there to the API."""

from __future__ import annotations

import asyncio
import os
import sys

import httpx
import jwt

from tests.emulators.cloud_run import PARENT, PROJECT, environment

# What a program of anybody does: it is told where the API is, and finds all else.
PROGRAM = """
import asyncio, sys
import google.auth
from google.auth.compute_engine import IDTokenCredentials
from google.auth.transport.requests import Request
from google.cloud import run_v2

async def main(endpoint, parent):
    found, project = google.auth.default()
    options = {"api_endpoint": endpoint}
    async with run_v2.ServicesAsyncClient(credentials=found, client_options=options) as client:
        print(project, [each.name async for each in await client.list_services(parent=parent)])

identity = IDTokenCredentials(
    Request(), "https://service.example", use_metadata_identity_endpoint=True
)
identity.refresh(Request())
print(identity.token)
asyncio.run(main(*sys.argv[1:]))
"""


async def test_the_unmodified_libraries_find_tokens_and_the_api(emulator, tmp_path):
    path = tmp_path / "authority.pem"
    path.write_bytes(emulator.authority)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, emulator.endpoint, PARENT),
        env=os.environ | environment(emulator, str(path)),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    token, listed = said.decode().splitlines()
    assert listed == f"{PROJECT} []"
    identity = emulator.issuer.identify(token)
    assert (identity.email, identity.audience) == (emulator.email, "https://service.example")


async def test_only_who_sends_the_flavour_is_answered(emulator):
    base = f"http://{emulator.metadata_address}"
    flavour = {"metadata-flavor": "Google"}
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    async with httpx.AsyncClient(base_url=base) as http:
        assert (await http.get(path)).status_code == 403
        forwarded = flavour | {"x-forwarded-for": "10.0.0.1"}
        assert (await http.get(path, headers=forwarded)).status_code == 403
        answer = await http.get(path, headers=flavour)
        assert answer.status_code == 200
        assert answer.headers["metadata-flavor"] == "Google"
        assert answer.json()["token_type"] == "Bearer"
        again = await http.get(path, headers=flavour)
        assert again.json()["access_token"] == answer.json()["access_token"]
        full = await http.get(
            path.replace("token", "identity"),
            params={"audience": "https://x.example", "format": "full"},
            headers=flavour,
        )
        claims = jwt.decode(full.text, options={"verify_signature": False})
        assert claims["google"]["compute_engine"]["project_id"] == PROJECT
        nobody = await http.get(path.replace("token", "identity"), headers=flavour)
        assert nobody.status_code == 400
        assert (await http.get("/computeMetadata/v1/nothing", headers=flavour)).status_code == 404
