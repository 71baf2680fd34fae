import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from engine.errors import SiteError, TemplateError
from engine.publish.files import write_files
from engine.publish.server import serve, stamps


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "public").mkdir()
    (tmp_path / "public/index.html").write_text("<body>old</body>")
    (tmp_path / "public/data.csv").write_text("a,b</body>")
    (tmp_path / "investigations/one").mkdir(parents=True)
    (tmp_path / "investigations/one/report.md").write_text("old")
    (tmp_path / "site").mkdir()
    return tmp_path


def get(address: str) -> str:
    with urlopen(address, timeout=5) as answer:
        return answer.read().decode()


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


@contextmanager
def serving(root: Path, rebuild: Callable[[set[Path]], None]) -> Iterator[tuple[str, list[str]]]:
    """The address, and what the server says; a file called stop ends it as Ctrl-C would."""
    said: list[str] = []
    port = free_port()

    def rebuilt(changed: set[Path]) -> None:
        if root / "site/stop" in changed:
            raise KeyboardInterrupt
        rebuild(changed)

    thread = threading.Thread(target=serve, args=(root, port, rebuilt), kwargs={"say": said.append})
    thread.start()
    eventually(lambda: bool(said))
    try:
        yield f"http://127.0.0.1:{port}/", said
    finally:
        (root / "site/stop").touch()
        thread.join(10)
    assert said[-1] == "stopped"


def test_an_edit_is_rendered_and_announced_to_the_page(root: Path) -> None:
    seen: list[set[Path]] = []

    def rebuild(changed: set[Path]) -> None:
        seen.append(changed)
        (root / "public/index.html").write_text("<body>new</body>")

    report = root / "investigations/one/report.md"
    with serving(root, rebuild) as (address, said):
        assert 'old<script src="/.reload.js"></script>' in get(address)
        assert "location.reload()" in get(f"{address}.reload.js")
        assert get(f"{address}data.csv") == "a,b</body>"
        version = get(f"{address}.version")
        report.write_text("new")
        eventually(lambda: get(f"{address}.version") != version)
        assert "new<script" in get(address)
    assert seen == [{report}]
    assert any("investigations/one/report.md: page ready" in line for line in said)


def test_a_mistake_is_said_and_the_last_good_page_stays(root: Path) -> None:
    def rebuild(changed: set[Path]) -> None:
        raise TemplateError("no number 'rnak'", where="report.md:3")

    with serving(root, rebuild) as (address, said):
        version = get(f"{address}.version")
        (root / "investigations/one/report.md").write_text("{{ rnak }}")
        eventually(lambda: "report.md:3: no number 'rnak'" in said)
        assert get(f"{address}.version") == version
        assert "old" in get(address)


def test_what_the_engine_writes_is_not_a_change(root: Path) -> None:
    before = stamps(root)
    write_files(root / "site", {"index.md": "generated", "investigations/one/index.md": "generated"})
    assert stamps(root) == before
    (root / "site/note.md").write_text("by hand")
    assert stamps(root).keys() - before.keys() == {root / "site/note.md"}


def test_a_taken_port_is_a_clear_error(root: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SiteError, match=rf"port {port} cannot be used"):
            serve(root, port, lambda changed: None)
