"""`mech demo`: served while the model loads, tried without a server, and refused in one message."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.commands import demo
from engine.demo import live_model, panel_list
from engine.demo.server_address import ServerAddress, bound_socket
from engine.models.micro import micro_model
from tests.conftest import REPOSITORY, save_model
from tests.demo import toy_panel


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A small model in a folder, by its path."""
    monkeypatch.setenv("MECH_CACHE", str(tmp_path / "cache"))
    save_model(micro_model(), tmp_path / "model")
    return str(tmp_path / "model")


def test_smoke_says_what_each_panel_found_and_how_long_it_took(
    engine: Any, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel_list, "PANELS", (toy_panel.PANEL,))
    answer = engine("demo", "--smoke", "--model", model)
    assert answer.code == 0, answer.err
    assert "ok  toy" in answer.out and "picked nothing" in answer.out
    assert "1 of 1 panels answered" in answer.out
    told = engine("demo", "--smoke", "--model", model, "--json").json
    assert told["panels"][0]["found"] and told["seconds"] > 0


def test_a_panel_that_fails_is_told_and_makes_the_exit_status_one(
    engine: Any, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(toy_panel.ToyState):
        does: Any = "refuse"

    monkeypatch.setattr(panel_list, "PANELS", (_with_state(Refusing),))
    answer = engine("demo", "--smoke", "--model", model)
    assert answer.code == 1
    assert "failed  toy" in answer.out and "refused" in answer.out


def _with_state(state: type) -> Any:
    from dataclasses import replace

    return replace(toy_panel.PANEL, state=state)


@pytest.mark.parametrize("arguments", [("--smoke",), ()])
def test_an_unknown_model_is_one_message(engine: Any, arguments: tuple[str, ...]) -> None:
    answer = engine("demo", "--model", "smollm2-135m-instuct", *arguments)
    assert answer.code == 2
    assert answer.err.startswith("error: no model is called") and "nearest: smollm2-135m" in answer.err


def test_a_busy_port_is_one_message_before_anything_is_loaded(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_model.LiveModel, "load", lambda *_: pytest.fail("the model was loaded"))
    with bound_socket(ServerAddress(port=0)) as taken:
        port = taken.getsockname()[1]
        answer = engine("demo", "--port", str(port))
    assert answer.code == 2
    assert f"port {port} is taken" in answer.err and "Traceback" not in answer.err


def test_a_missing_extra_is_one_message(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    answer = engine("demo")
    assert answer.code == 2
    assert "pip install 'mech-interpretability[demo]'" in answer.err


def test_sharing_is_off_and_warned_about() -> None:
    parameters = {parameter.name: parameter for parameter in _command().params}
    assert parameters["share"].default is False
    assert parameters["host"].default == "127.0.0.1"
    assert parameters["port"].default == 7860
    assert "tunnel" in demo.SHARE_WARNING


def _command() -> Any:
    from typer.main import get_command

    return get_command(demo.app)


@pytest.fixture
def served(model: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """The command as a person starts it, and where it answers."""
    with bound_socket(ServerAddress(port=0)) as taken:
        port = taken.getsockname()[1]
    arguments = ["demo", "--model", model, "--port", str(port)]
    call = "import sys; from engine.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", call, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process, f"http://127.0.0.1:{port}/"
    process.kill()
    process.communicate()


def test_it_answers_tells_its_progress_and_ends_with_an_interrupt(
    served: tuple[subprocess.Popen, str],
) -> None:
    process, url = served
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    assert "starting the demo of" in lines[0]
    assert url in lines[1] and "the model is loading" in lines[1]
    assert "is loaded after" in lines[2]
    with urllib.request.urlopen(url) as answer:
        page = answer.read().decode()
    assert json.dumps("Logit lens") in page
    process.send_signal(signal.SIGINT)
    ends = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < ends:
        time.sleep(0.1)
    rest = process.stdout.read()
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
