"""The guard: what a stranger would try is not there, and what the page needs is."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from engine.demo.app import build_app
from engine.demo.limits import LIMITS
from engine.demo.live_model import LiveModel
from engine.demo.server import DemoServer, own_page, policy, web_app
from engine.demo.server_address import ServerAddress, bound_socket
from engine.errors import DemoError
from engine.models.micro import micro_model
from tests.demo.toy_panel import PANEL

SECRET = "the secret of this machine"


@pytest.fixture(scope="module")
def address() -> Iterator[ServerAddress]:
    taken = bound_socket(ServerAddress(port=0))
    found = ServerAddress(port=taken.getsockname()[1], embedded_in=("https://site.invalid",))
    app = build_app(LiveModel.of(micro_model()), [PANEL])
    server = DemoServer(web_app(app, found), taken)
    server.start()
    yield found
    server.close()


def ask(
    address: ServerAddress, method: str, path: str, body: str | bytes | None = None, **headers: str
) -> tuple[HTTPResponse, str]:
    """One request, its path sent as it stands."""
    connection = HTTPConnection(address.host, address.port, timeout=30)
    with closing(connection):
        connection.request(method, path, body, {name.replace("_", "-"): v for name, v in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read(2_000_000).decode("utf-8", "replace")


def test_the_page_has_its_policy_and_no_other_host(address: ServerAddress) -> None:
    answer, page = ask(address, "GET", "/")
    assert answer.status == 200
    rules = dict(
        rule.split(" ", 1) for rule in (answer.getheader("content-security-policy") or "").split("; ")
    )
    assert rules["default-src"] == rules["connect-src"] == "'self'"
    assert "'unsafe-inline'" not in rules["script-src"]
    assert rules["frame-ancestors"] == "'self' https://site.invalid"
    nonce = re.search(r"'nonce-([^']+)'", rules["script-src"])
    assert nonce
    scripts = re.findall(r"<script\b[^>]*>", page)
    assert scripts and all(f'nonce="{nonce[1]}"' in script for script in scripts)
    # Addresses of other hosts are in the page as words of Gradio's alone, and nothing is loaded from there.
    loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"(https?:)?//", page)
    assert loaded == []


def test_a_nonce_is_used_once(address: ServerAddress) -> None:
    first = ask(address, "GET", "/")[0].getheader("content-security-policy")
    assert first != ask(address, "GET", "/")[0].getheader("content-security-policy")


def test_what_a_reader_typed_is_no_script_of_the_page() -> None:
    page = 'a<script>x</script><script type="module" src="y"></script>'
    assert own_page(page, "n").count('nonce="n"') == 2
    assert "nonce" not in own_page("\\u003cscript\\u003e", "n")
    assert policy("n").count("'nonce-n'") == 1


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "secret.txt"
    path.write_text(SECRET)
    return path


PATHS = [
    "/gradio_api/file={secret}",
    "/gradio_api/file/{secret}",
    "/file={secret}",
    "/file/{secret}",
    "/static/../../../../../../../..{secret}",
    "/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e{secret}",
    "/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..{secret}",
    "/demo/../..{secret}",
    "/gradio_api/proxy=http://127.0.0.1:1/x",
    "/gradio_api/info",
    "/gradio_api/openapi.json",
    "/openapi.json",
    "/docs",
    "/redoc",
    "/config",
    "/monitoring",
    "/monitoring/summary",
    "/gradio_api/runs",
    "/gradio_api/deep_link?session_hash=x",
    "/gradio_api/token",
    "/gradio_api/app_id",
    "/gradio_api/dev/reload",
    "/gradio_api/vibe-code",
    "/gradio_api/upload_progress?upload_id=x",
    "/gradio_api/call/run/x",
    "/gradio_api/mcp/sse",
    "/svelte/x.js",
    "/custom_component/x/client/component/x.js",
    "/gradio_api/stream/a/b/c/playlist.m3u8",
    "/login",
    "/.env",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_file_and_no_route_beyond_the_panels(address: ServerAddress, secret: Path, path: str) -> None:
    answer, text = ask(address, "GET", path.format(secret=secret))
    assert answer.status == 404
    assert SECRET not in text and len(text) < 100


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/upload",
        "/gradio_api/call/run",
        "/gradio_api/run/run",
        "/gradio_api/api/run",
        "/gradio_api/component_server",
        "/gradio_api/process_recording",
        "/gradio_api/vibe-edit",
        "/gradio_api/profiling/clear",
        "/login",
    ],
)
def test_nothing_is_uploaded_and_no_function_is_called(address: ServerAddress, path: str) -> None:
    assert ask(address, "POST", path, "{}", content_type="application/json")[0].status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_no_other_method(address: ServerAddress, method: str) -> None:
    assert ask(address, method, "/")[0].status == 405


def test_a_body_that_is_too_large_is_refused_however_it_is_sent(address: ServerAddress) -> None:
    join = "/gradio_api/queue/join"
    large = b"x" * (LIMITS.body_bytes + 1)
    assert ask(address, "POST", join, large)[0].status == 413
    connection = HTTPConnection(address.host, address.port, timeout=30)
    with closing(connection):  # in pieces, without a length
        connection.request("POST", join, iter([large[:1000], large]), encode_chunked=True)
        assert connection.getresponse().status == 413


def test_another_site_is_refused(address: ServerAddress) -> None:
    join = "/gradio_api/queue/join"
    for origin in ("https://other.invalid", "null", f"http://localhost:{address.port + 1}"):
        assert ask(address, "POST", join, "{}", Origin=origin)[0].status == 403
    own = f"http://{address.host}:{address.port}"
    assert ask(address, "POST", join, "{}", Origin=own, content_type="application/json")[0].status != 403
    # Another name that leads to this machine (DNS rebinding).
    assert ask(address, "GET", "/", Host="rebound.invalid")[0].status == 421
    assert ask(address, "GET", "/", Host=f"localhost:{address.port}")[0].status == 200
    answer, _ = ask(address, "GET", "/", Origin="http://localhost")
    assert answer.getheader("access-control-allow-origin") is None


def joined(address: ServerAddress, data: list, **more: object) -> str:
    """What comes of a call of an event through the queue, as a page would make it."""
    function = next(
        number
        for number, fn in build_app(LiveModel.of(micro_model()), [PANEL]).fns.items()
        if fn.name == "run"
    )
    body = {"data": data, "fn_index": function, "session_hash": "abc", "trigger_id": 1, **more}
    asked = ask(address, "POST", "/gradio_api/queue/join", json.dumps(body), content_type="application/json")
    if asked[0].status != 200:
        return f"{asked[0].status} {asked[1]}"
    return ask(address, "GET", "/gradio_api/queue/data?session_hash=abc")[1]


def test_what_is_sent_past_the_page_is_judged_as_a_state(address: ServerAddress) -> None:
    assert "picked nothing" in joined(address, ["one", 0, "answer", "", []])
    assert "at most 200 characters" in joined(address, ["x" * 500, 0, "answer", "", []])
    assert "less than or equal to 60" in joined(address, ["one", 1e9, "answer", "", []])


def test_a_file_that_is_named_as_data_is_not_read(address: ServerAddress, secret: Path) -> None:
    file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}, "url": None, "orig_name": "x"}
    for data in (["one", 0, "answer", "", file], [file, 0, "answer", "", []]):
        told = joined(address, data)
        assert SECRET not in told
        assert "picked nothing" not in told


def test_no_event_is_an_endpoint_of_an_api() -> None:
    app = build_app(LiveModel.of(micro_model()), [PANEL])
    assert {fn.api_visibility for fn in app.fns.values()} == {"private"}
    assert app.analytics_enabled is False
    assert not app.allowed_paths


def test_a_port_that_is_taken_is_one_message(address: ServerAddress) -> None:
    with pytest.raises(DemoError, match=f"port {address.port} is taken"):
        bound_socket(address)
    with pytest.raises(DemoError, match="cannot be served at 203"):
        bound_socket(ServerAddress(host="203.0.113.7", port=0))


def test_no_server_of_another_host_is_known_to_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building and serving asks for no other host: whatever would connect elsewhere fails this test."""
    real = socket.socket.connect
    elsewhere: list[object] = []

    def connect(self: socket.socket, to: object) -> None:
        if isinstance(to, tuple) and to[0] not in ("127.0.0.1", "::1", "localhost"):
            elsewhere.append(to)
            raise OSError("no network in this test")
        real(self, to)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", _only_local(socket.getaddrinfo, elsewhere))
    before = set(threading.enumerate())
    taken = bound_socket(ServerAddress(port=0))
    address = ServerAddress(port=taken.getsockname()[1])
    server = DemoServer(web_app(build_app(LiveModel.of(micro_model()), [PANEL]), address), taken)
    server.start()
    assert ask(address, "GET", "/")[0].status == 200
    server.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(5.0)
    assert elsewhere == []


def _only_local(real, elsewhere: list[object]):
    def getaddrinfo(host, *rest, **more):
        if host not in ("127.0.0.1", "::1", "localhost", None):
            elsewhere.append(host)
        return real(host, *rest, **more)

    return getaddrinfo
