"""`engine serve`: the built site on this machine, made again and reloaded when a source file changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from engine.errors import EngineError, SiteError
from engine.publish.files import MANIFEST, generated

SOURCES = ("mkdocs.yml", "site", "investigations", "publications")
RUNS = ".engine/runs"
POLL_SECONDS = 0.1
RELOAD_SCRIPT = b"""(() => {
  let seen
  const look = async () => {
    const version = document.hidden ? seen : await (await fetch("/.version")).text()
    if (seen && version !== seen) location.reload()
    seen = version
  }
  setInterval(() => look().catch(() => {}), 100)
})()"""
# A file of its own, since the pages' content security policy lets no script be written into them.
RELOAD = b'<script src="/.reload.js"></script></body>'

Rebuild = Callable[[set[Path]], None]


def serve(
    root: Path,
    port: int,
    rebuild: Rebuild,
    *,
    out: Path | None = None,
    host: str = "127.0.0.1",
    say: Callable[[str], None] = print,
) -> None:
    """Serve `out` (public/) until interrupted; on a change, `rebuild(changed files)`, then reload browsers.

    A mistake in a template is said, the last good pages stay, and the next change is tried again.
    Raises SiteError where the port is taken.
    """
    server = _listen(host, port, out or root / "public")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say(f"serving http://{host}:{server.server_port}/ and watching {', '.join(SOURCES)}; Ctrl-C ends it")
    try:
        _watch(root, server, rebuild, say)
    except KeyboardInterrupt:
        say("stopped")
    finally:
        server.shutdown()
        server.server_close()


def _watch(root: Path, server: Server, rebuild: Rebuild, say: Callable[[str], None]) -> None:
    seen = stamps(root)
    while True:
        time.sleep(POLL_SECONDS)
        now = stamps(root)
        changed = {path for path, _ in seen.items() ^ now.items()}
        # Before the rebuild: what is saved while it runs is a change of the next round.
        seen = now
        if not changed:
            continue
        started = time.monotonic()
        try:
            rebuild(changed)
        except EngineError as error:
            say(str(error))
            continue
        server.version += 1
        names = ", ".join(sorted(str(p.relative_to(root)) for p in changed))
        say(f"{names}: page ready after {time.monotonic() - started:.1f} s")


def stamps(root: Path) -> dict[Path, int]:
    """Time of modification in ns of every hand-written source file of the site, and of every measured run."""
    ours = {root / "site" / name for name in (*generated(root / "site"), MANIFEST)}
    found = {path: path.stat().st_mtime_ns for path in (root / RUNS).glob("[0-9]*")}
    for source in SOURCES:
        for path in [root / source, *(root / source).rglob("*")]:
            with suppress(FileNotFoundError):  # an editor's own file, gone again
                if path.is_file() and path not in ours and not path.name.startswith("."):
                    found[path] = path.stat().st_mtime_ns
    return found


class Server(ThreadingHTTPServer):
    """A file server that knows how often the site was made again."""

    daemon_threads = True
    allow_reuse_address = True
    version = time.time_ns()  # not from 0: a page left open by an earlier server reloads too


def _listen(host: str, port: int, folder: Path) -> Server:
    try:
        return Server((host, port), partial(Handler, directory=str(folder)))
    except OSError as error:
        raise SiteError(
            f"port {port} cannot be used", where="engine serve", seen=str(error), hint=f"--port {port + 1}"
        ) from error


class Handler(SimpleHTTPRequestHandler):
    """Serves files, adds the reload script to pages, answers /.version and /.reload.js."""

    server: Server

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        page = path / "index.html" if self.path.split("?")[0].endswith("/") else path
        if self.path == "/.version":
            self._answer(str(self.server.version).encode(), "text/plain")
        elif self.path == "/.reload.js":
            self._answer(RELOAD_SCRIPT, "text/javascript; charset=utf-8")
        elif page.suffix == ".html" and page.is_file():
            self._answer(page.read_bytes().replace(b"</body>", RELOAD), "text/html; charset=utf-8")
        else:
            super().do_GET()

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""
