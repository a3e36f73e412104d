"""What the proxy itself says where there is nothing of the program's: small pages, or a line of text."""

from __future__ import annotations

from html import escape
from http import HTTPStatus

from starlette.types import Receive, Scope, Send

RETRY_SECONDS = 2

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">{refresh}
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ground: #fbfbfc; --text: #1c1e22; --soft: #62666f;
  --line: #dfe1e6; --accent: #2f6feb; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ground: #14161a; --text: #e6e8ec; --soft: #9aa0ab; --line: #2b2f37; --accent: #6ea0ff; }}
}}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--ground);
  color: var(--text); font: 15px/1.55 system-ui, sans-serif; }}
main {{ max-width: 26rem; padding: 2rem; text-align: center; }}
h1 {{ margin: 0 0 .5rem; font-size: 1.15rem; font-weight: 600; }}
p {{ margin: 0 0 1rem; color: var(--soft); }}
a {{ color: var(--accent); }}
.bar {{ height: 2px; margin: 1.5rem auto 0; width: 8rem; background: var(--line); overflow: hidden;
  border-radius: 1px; }}
.bar::after {{ content: ""; display: block; height: 100%; width: 40%; background: var(--accent);
  animation: go 1.2s ease-in-out infinite alternate; }}
@keyframes go {{ to {{ transform: translateX(150%); }} }}
@media (prefers-reduced-motion: reduce) {{ .bar::after {{ animation: none; width: 100%; }} }}
</style>
</head>
<body><main><h1>{title}</h1><p>{text}</p>{link}{bar}</main></body>
</html>
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Notice(Exception):
    """What to say instead of an answer. ``retry``: the same may work in a moment."""

    def __init__(
        self,
        status: HTTPStatus,
        title: str,
        text: str,
        *,
        retry: bool = False,
        link: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(status, title, text)
        self.status = status
        self.title = title
        self.text = text
        self.retry = retry
        self.link = link

    def page(self) -> bytes:
        """Return it for a person; one that may work in a moment tries by itself."""
        refresh = f'\n<meta http-equiv="refresh" content="{RETRY_SECONDS}">' if self.retry else ""
        address, words = self.link or ("", "")
        link = f'<p><a href="{escape(address)}">{escape(words)}</a></p>' if self.link else ""
        return _PAGE.format(
            title=escape(self.title),
            text=escape(self.text),
            refresh=refresh,
            link=link,
            bar='<div class="bar"></div>' if self.retry else "",
        ).encode()


async def tell(
    notice: Notice, scope: Scope, receive: Receive, send: Send, *, as_page: bool
) -> None:
    """Answer a request, or refuse a socket, with a notice."""
    body = notice.page() if as_page else f"{notice.title}. {notice.text}\n".encode()
    kind = "text/html" if as_page else "text/plain"
    fields = [
        (b"content-type", f"{kind}; charset=utf-8".encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"content-security-policy", _POLICY.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    ]
    if notice.retry:
        fields.append((b"retry-after", str(RETRY_SECONDS).encode()))
    await answer(scope, receive, send, notice.status, fields, body)


async def redirect(
    scope: Scope, receive: Receive, send: Send, target: str, fields: list[tuple[bytes, bytes]]
) -> None:
    """Lead a browser somewhere else."""
    sent = [
        (b"location", target.encode("latin-1", "replace")),
        (b"content-length", b"0"),
        (b"cache-control", b"no-store"),
        (b"referrer-policy", b"no-referrer"),
        *fields,
    ]
    await answer(scope, receive, send, HTTPStatus.SEE_OTHER, sent, b"")


async def answer(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    fields: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    """Answer at once; a socket is refused before the upgrade, or closed where a server cannot say why."""
    kind = "http.response"
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008})
            return
        kind = "websocket.http.response"
    await send({"type": f"{kind}.start", "status": int(status), "headers": fields})
    await send({"type": f"{kind}.body", "body": b"" if scope.get("method") == "HEAD" else body})
