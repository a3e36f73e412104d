"""The pages: files of ``serve_app/static``, as the front end's build leaves them there.

=========================== ===========================
path                        file
=========================== ===========================
``/``                       ``login.html``
``/workspaces/{id}``        ``workspace.html``
``/admin``                  ``admin.html``
``/static/{file}``          that file
``/favicon.ico``            ``favicon.svg``
=========================== ===========================

Addresses that people make up from these lead to them: ``/login``, and a slash at the end. Who asks for
anything else and takes HTML gets ``not-found.html``; programs get a problem document.

Pages hold no data and need no sign-in; what they show they ask the API for. They are checked anew
with every visit (``no-cache`` and an ``ETag``). Files below ``/static/assets/`` carry a hash of their
content in their names and are kept for a year. A file that has a ``.br`` or ``.gz`` beside it is sent
in that form to who takes it.
"""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cluster.codi.conditions import State, Verdict, judge

STATIC = Path(__file__).parents[1] / "static"
PAGES = {
    "/": "login.html",
    "/workspaces/{session_id}": "workspace.html",
    "/admin": "admin.html",
    "/favicon.ico": "favicon.svg",
}
NOT_FOUND = "not-found.html"
_MEANT = {
    "/login": "/",
    "/login/": "/",
    "/admin/": "/admin",
    "/workspaces": "/",
    "/workspaces/": "/",
    "/workspaces/{session_id}/": "/workspaces/{session_id}",
}
_YEAR = "public, max-age=31536000, immutable"
_ENCODINGS = (("br", ".br"), ("gzip", ".gz"))
_MAX_FILE = 16 << 20


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    etag: str


def install(app: FastAPI, directory: Path = STATIC) -> None:
    """Add the pages to the application."""

    def page(path: str, name: str) -> None:
        @app.api_route(path, methods=["GET", "HEAD"], include_in_schema=False)
        async def show(request: Request) -> Response:
            return respond(request, directory, name)

    def redirection(path: str, target: str) -> None:
        @app.api_route(path, methods=["GET", "HEAD"], include_in_schema=False)
        async def lead(request: Request) -> Response:
            parameters = {name: quote(text) for name, text in request.path_params.items()}
            query = f"?{request.url.query}" if request.url.query else ""
            return RedirectResponse(target.format(**parameters) + query)

    for path, name in PAGES.items():
        page(path, name)
    for path, target in _MEANT.items():
        redirection(path, target)

    @app.api_route("/static/{name:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        return respond(request, directory, name)


def not_found(request: Request, directory: Path) -> Response | None:
    """Return the page for a person whose address leads nowhere; None for all other requests."""
    wants_page = request.method in {"GET", "HEAD"} and "text/html" in request.headers.get(
        "accept", ""
    )
    if not wants_page or request.url.path.startswith("/api/"):
        return None
    try:
        content = (directory / NOT_FOUND).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None  # the pages are not built
    return HTMLResponse(content, status_code=404, headers={"cache-control": "no-store"})


def respond(request: Request, directory: Path, name: str) -> Response:
    """Return a file of the directory. Raises HTTPException 404."""
    path = (directory / name).resolve() if "\0" not in name else directory
    if not path.is_relative_to(directory.resolve()) or not path.is_file():
        raise HTTPException(404, "there is no such page")
    accepted = {part.split(";")[0].strip() for part in _accepted(request).split(",")}
    headers = {
        "cache-control": _YEAR if name.startswith("assets/") else "no-cache",
        "vary": "accept-encoding",
    }
    chosen = path
    for encoding, suffix in _ENCODINGS:
        packed = path.with_name(path.name + suffix)
        if encoding in accepted and packed.is_file():
            chosen, headers["content-encoding"] = packed, encoding
            break
    file = _read(chosen, chosen.stat().st_mtime_ns)
    headers["etag"] = file.etag
    tags = ", ".join(request.headers.getlist("if-none-match"))
    if tags and judge("GET", {"if-none-match": tags}, State(file.etag, 0)) is Verdict.NOT_MODIFIED:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=_media_type(path), headers=headers)


@lru_cache(maxsize=256)
def _read(path: Path, _changed: int) -> _File:
    """Read a file of the build; ``_changed`` makes a changed one another entry."""
    if path.stat().st_size > _MAX_FILE:
        raise HTTPException(404, "there is no such page")
    content = path.read_bytes()
    return _File(content, f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"')


def _accepted(request: Request) -> str:
    return request.headers.get("accept-encoding", "")


def _media_type(path: Path) -> str:
    guessed, _ = mimetypes.guess_type(path.name)
    kind = guessed or "application/octet-stream"
    textual = kind.startswith("text/") or kind == "application/javascript"
    return f"{kind}; charset=utf-8" if textual else kind
