"""The demo's web server: Gradio behind a guard that lets through what the panels need, and nothing else.

Gradio brings routes for files, uploads, proxies, an API, monitoring, deep links and more. A list of what the
app's own page asks for is shorter than a list of what it should not be asked: every other path is unknown
here. The guard also adds the content security policy, refuses requests that another site made a browser send,
and bodies that are too large.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
import uvicorn
from fastapi import FastAPI, Response
from gradio.networking import setup_tunnel
from gradio.themes import Base

from engine.demo.event_loop import within_loop
from engine.demo.limits import LIMITS, RequestLimits
from engine.demo.server_address import LOOPBACK, ServerAddress
from engine.errors import DemoError
from engine.models.cards import cache_folder
from engine.report.charts.vega import vega_bundle, vega_bundle_name

GETS = re.compile(
    r"/|/(assets|static|demo)/[\w./-]+|/(favicon\.ico|theme\.css|manifest\.json|robots\.txt)"
    r"|/gradio_api/(queue/data|startup-events|theme\.css|heartbeat/[\w-]+)"
)
POSTS = re.compile(r"/gradio_api/(queue/join|cancel|reset)/?")
METHODS = {"GET": GETS, "HEAD": GETS, "POST": POSTS}

FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO_FONTS = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
HEAD = '<script src="demo/demo.js" defer></script>'


def policy(nonce: str, embedded_in: Sequence[str] = ()) -> str:
    """The content security policy of the page: everything from this host, and nothing from any other.

    Gradio builds its templates and handlers from text, for which its own script needs `unsafe-eval`; inline
    scripts are those of the page alone, which carry the nonce.
    """
    rules = {
        "default-src": "'self'",
        "script-src": f"'self' 'nonce-{nonce}' 'unsafe-eval'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'none'",
        "frame-ancestors": " ".join(["'self'", *embedded_in]),
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


class WebGuard:
    """What stands before the app: paths, hosts, origins and sizes; and the headers of every answer."""

    def __init__(self, app: Any, address: ServerAddress, limits: RequestLimits = LIMITS) -> None:
        self.app = app
        self.address = address
        self.limits = limits
        self.public_host = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # a websocket, of which the app has none
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refused(scope["method"], scope["path"], headers)
        if refusal:
            status, words = refusal
            await Response(words + "\n", status, self._plain_headers(), "text/plain")(scope, receive, send)
            return
        if scope["method"] == "POST":
            body = await _body(receive, self.limits.body_bytes)
            if body is None:
                refused = Response("too large\n", 413, self._plain_headers(), "text/plain")
                await refused(scope, receive, send)
                return
            receive = _replayed(body, receive)
        if scope["path"] == "/":
            await self._page(scope, receive, send)
        else:
            await self.app(scope, receive, self._with_headers(send))

    def _refused(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        allowed = METHODS.get(method)
        if allowed is None:
            return 405, "not allowed"
        if not allowed.fullmatch(path) or ".." in path:
            return 404, "not found"
        host = headers.get("host", "")
        # A name that another site resolves to this machine would make its scripts this page's own.
        known = host == self.public_host or _name(host) in LOOPBACK
        if self.address.is_local and not known:
            return 421, "another host was asked for"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "another site asked"
        return None

    def _plain_headers(self) -> dict[str, str]:
        return {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}

    def _with_headers(self, send: Any) -> Any:
        """`send`, with the headers that go with whatever is no page."""

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(k.encode(), v.encode()) for k, v in self._plain_headers().items()]
                message = {**message, "headers": [*_without_cors(message["headers"]), *more]}
            await send(message)

        return sending

    async def _page(self, scope: Any, receive: Any, send: Any) -> None:
        """The page itself, its inline scripts marked as its own."""
        nonce = secrets.token_urlsafe(16)
        start: dict[str, Any] = {}
        parts: list[bytes] = []

        async def collecting(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                parts.append(message.get("body", b""))

        await self.app(scope, receive, collecting)
        page = own_page(b"".join(parts).decode("utf-8"), nonce).encode("utf-8")
        headers = {
            **self._plain_headers(),
            "content-type": "text/html; charset=utf-8",
            "content-security-policy": policy(nonce, self.address.embedded_in),
            "cache-control": "no-store",
        }
        await Response(page, start.get("status", 500), headers)(scope, receive, send)


SCRIPT = re.compile(r"<script(?=[\s>])")
OF_OTHERS = re.compile(r"\s*<(?:meta|link)\b[^>]*\b(?:og:|twitter:|manifest\.json)[^>]*>")


def own_page(page: str, nonce: str) -> str:
    """Gradio's page without what it says of Gradio's own site, and with the nonce on its scripts.

    Text of a state is in the page as JSON with its `<` escaped, so that no script of a reader's is marked.
    """
    return SCRIPT.sub(f'<script nonce="{nonce}"', OF_OTHERS.sub("", page))


def _name(host: str) -> str:
    """A Host header without its port; empty for what is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _without_cors(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """No other site may read an answer."""
    return [(name, value) for name, value in headers if not name.lower().startswith(b"access-control-")]


async def _body(receive: Any, most: int) -> bytes | None:
    """All of a request's body; None where it is larger than it may be."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _replayed(body: bytes, receive: Any) -> Any:
    """A `receive` that gives the body that was read, once."""
    given = False

    async def receiving() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving


def web_app(blocks: gr.Blocks, address: ServerAddress, limits: RequestLimits = LIMITS) -> WebGuard:
    """The guarded app, to be served."""
    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    assets = files("engine.demo") / "assets"
    script = (assets / "demo.js").read_text(encoding="utf-8")

    @outer.get("/demo/demo.js")
    def demo_js() -> Response:
        return Response(script, media_type="text/javascript")

    @outer.get("/demo/vega.js")
    def vega_js() -> Response:
        kept = {"cache-control": "max-age=86400"}
        return Response(vega_script(), media_type="text/javascript", headers=kept)

    theme = Base(primary_hue="blue", neutral_hue="slate", font=FONTS, font_mono=MONO_FONTS).set(
        # White on the theme's own blue, and its grey on white, have too little contrast.
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_700",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
    )
    mounting = {
        "path": "/",
        "theme": theme,
        "css": (assets / "demo.css").read_text(encoding="utf-8"),
        "head": HEAD,
        "footer_links": [],
        "ssr_mode": False,
        "allowed_paths": [],
        "max_file_size": 1,
        "pwa": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "run_history": False,
    }
    within_loop(lambda: gr.mount_gradio_app(outer, blocks, **mounting))
    return WebGuard(outer, address, limits)


@cache
def vega_script() -> str:
    """The site's build of Vega; kept in the cache folder, since making it takes seconds."""
    kept: Path = cache_folder() / "demo" / vega_bundle_name()
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    made = vega_bundle()
    kept.parent.mkdir(parents=True, exist_ok=True)
    scratch = kept.with_suffix(f".{secrets.token_hex(4)}")
    scratch.write_text(made, encoding="utf-8")
    scratch.replace(kept)
    return made


def public_link(app: WebGuard, address: ServerAddress) -> str:
    """A link through a server of Gradio's to this one; DemoError where there can be none."""
    try:
        link = setup_tunnel(address.host, address.port, secrets.token_urlsafe(32), None, None)
    except Exception as error:  # whatever goes wrong in a program that was fetched, the reason is told
        raise DemoError("no public link could be made", seen=f"{type(error).__name__}: {error}") from None
    app.public_host = urlsplit(link).netloc
    return link


class DemoServer:
    """Serves an app in a thread of its own, until it is closed."""

    def __init__(self, app: WebGuard, taken: socket.socket) -> None:
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        self.app = app
        self.server = uvicorn.Server(config)
        self.taken = taken
        self.thread = Thread(target=self._serve, name="demo server", daemon=True)

    def _serve(self) -> None:
        asyncio.run(self.server.serve(sockets=[self.taken]))

    def start(self, seconds: float = 30.0) -> None:
        """Return once requests are answered."""
        self.thread.start()
        for _ in range(int(seconds / 0.02)):
            if self.server.started:
                return
            if not self.thread.is_alive():
                break
            self.thread.join(0.02)
        raise DemoError("the demo's server did not start")

    def wait(self) -> None:
        """Return when the server has ended."""
        while self.thread.is_alive():
            self.thread.join(0.5)

    def close(self) -> None:
        """Stop serving; requests that are computed are stopped at their next step."""
        self.server.should_exit = True
        self.thread.join(60.0)
        self.taken.close()
