"""The hub, played by a small server on this machine: what is taken, what is refused, how fast it gives up."""

from __future__ import annotations

import errno
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ModelCorrupt, ModelUnavailable, ModelUnknown
from engine.models import hub
from engine.models.cards import availability, find_card, model_hash
from engine.models.fetch import fetch
from engine.models.load import load
from tests.models.test_checkpoint import FAULTS, rewrite

Leftovers = Callable[[], list[str]]
WriteFolder = Callable[..., Path]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves one folder as the repository org/tiny; `asked` lists the paths it was asked for."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder = folder
        self.asked: list[str] = []


class Answer(BaseHTTPRequestHandler):
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        name = path.rpartition("/")[2]
        sizes = {p.name: p.stat().st_size for p in self.server.folder.iterdir()}
        if path.startswith("/api/models/org/tiny/tree/"):
            tree = [{"type": "file", "path": p, "size": size, "oid": "0"} for p, size in sizes.items()]
            self.reply(json.dumps(tree).encode())
        elif path.startswith("/api/models/org/tiny"):
            files = [{"rfilename": p, "size": size} for p, size in sizes.items()]
            answer = {"_id": "1", "id": "org/tiny", "sha": COMMIT, "siblings": files, "private": False}
            self.reply(json.dumps({**answer, "tags": [], "downloads": 0, "likes": 0}).encode())
        elif path.startswith(f"/org/tiny/resolve/{COMMIT}/") and (self.server.folder / name).is_file():
            self.reply((self.server.folder / name).read_bytes())
        else:
            self.reply(b"{}", 404, {"X-Error-Code": "RepoNotFound"})

    def reply(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        plain = {"Content-Length": str(len(content)), "ETag": etag, "X-Repo-Commit": COMMIT}
        for key, value in (plain | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_folder: WriteFolder
) -> Iterator[Hub]:
    server = Hub(write_folder(tmp_path / "repository", seed=5))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


def test_safetensors_are_taken_at_a_commit_that_is_recorded(
    cache: Path, served: Hub, leftovers: Leftovers
) -> None:
    (served.folder / "pytorch_model.bin").write_bytes(b"a pickle")
    model = load("org/tiny")
    record = json.loads((cache / "models" / "org--tiny" / "card.json").read_text())
    assert record["revision"] == COMMIT and record["hash"] == model.hash == model_hash("org/tiny")
    assert model.parity <= 5e-5 and leftovers() == ["org--tiny"]
    assert not [path for path in served.asked if path.endswith(".bin")]
    served.asked.clear()
    load("org/tiny")
    assert served.asked == []


def test_a_repository_of_pickles_is_refused(cache: Path, served: Hub, leftovers: Leftovers) -> None:
    (served.folder / "model.safetensors").rename(served.folder / "pytorch_model.bin")
    with pytest.raises(ModelCorrupt, match="has no safetensors"):
        fetch("org/tiny")
    assert leftovers() == [] and len(served.asked) == 1


@pytest.mark.parametrize("fault", ["compiled", "missing", "one more", "another shape", "NaN", "integers"])
def test_a_repository_whose_tensors_do_not_fill_the_model_is_refused(
    cache: Path, served: Hub, leftovers: Leftovers, fault: str
) -> None:
    spoil, words = FAULTS[fault]
    rewrite(served.folder, spoil)
    with pytest.raises(ModelCorrupt, match=words):
        load("org/tiny")
    assert leftovers() == []


def test_a_repository_that_does_not_exist_is_unknown(cache: Path, served: Hub, leftovers: Leftovers) -> None:
    with pytest.raises(ModelUnknown, match="no org/other"):
        fetch("org/other")
    assert leftovers() == []


def test_a_hub_out_of_reach_is_unavailable_at_once_and_asked_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, leftovers: Leftovers
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(ModelUnavailable, match="gpt2 cannot be had from the Hugging Face hub"):
        load("gpt2")
    assert time.monotonic() - start < 5
    assert availability("gpt2")[0] is False and leftovers() == []
    monkeypatch.setattr(hub, "resolve", lambda card: pytest.fail("the hub was asked again"))
    with pytest.raises(ModelUnavailable, match="engine models get gpt2 tries again"):
        load("gpt2")


def test_a_hub_that_never_answers_is_given_up_in_seconds(
    cache: Path, monkeypatch: pytest.MonkeyPatch, leftovers: Leftovers
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(hub, "ASK_SECONDS", 0.5)
        start = time.monotonic()
        with pytest.raises(ModelUnavailable):
            fetch("gpt2")
        assert time.monotonic() - start < 5
    assert leftovers() == []


def test_a_download_that_breaks_off_goes_on_later(
    cache: Path, served: Hub, monkeypatch: pytest.MonkeyPatch, leftovers: Leftovers
) -> None:
    weights = served.folder / "model.safetensors"
    hidden = weights.rename(served.folder.parent / "hidden")
    weights.mkdir()
    with pytest.raises(ModelUnavailable):
        fetch("org/tiny")
    assert leftovers() == []
    assert (cache / "downloads" / "org--tiny" / COMMIT / "config.json").is_file()
    weights.rmdir()
    hidden.rename(weights)
    fetch("org/tiny")
    assert leftovers() == ["org--tiny"]


@pytest.mark.parametrize(
    "problem",
    [ConnectionRefusedError(errno.ECONNREFUSED, "refused"), TimeoutError(errno.ETIMEDOUT, "timed out")],
    ids=["refused", "timed out"],
)
def test_an_error_of_the_network_while_downloading_makes_the_model_unavailable(
    problem: OSError, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", _raises(problem))
    with pytest.raises(ModelUnavailable, match="org/tiny cannot be had"):
        hub.download(find_card("org/tiny"), COMMIT, tmp_path)


@pytest.mark.parametrize(
    "problem",
    [OSError(errno.ENOSPC, "no space left"), PermissionError(errno.EACCES, "denied", "weights.safetensors")],
    ids=["full disk", "unwritable file"],
)
def test_an_error_of_the_disk_while_downloading_is_not_blamed_on_the_hub(
    problem: OSError, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", _raises(problem))
    with pytest.raises(OSError, match=r"no space left|denied"):
        hub.download(find_card("org/tiny"), COMMIT, tmp_path)


def _raises(problem: Exception) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise problem

    return fail
