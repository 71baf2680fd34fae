"""The first promise of the instructions: the built wheel, in an empty folder, with no clone around.

The wheel alone is installed, into a virtual environment that finds its dependencies where these tests have
theirs: what is tried is what the wheel holds and asks for, and not a download of gigabytes.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import urllib.request
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import REPOSITORY

SPEC = """\
family: logit_lens
model: smollm2-135m-instruct
prompts:
  rows:
  - {id: a, relation: r, prompt: "Fact: The capital of Germany is", answer: " Berlin"}
  - {id: b, relation: r, prompt: "Fact: The capital of Italy is", answer: " Rome"}
parameters: {known_rank: 1000000}
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(call, cwd=REPOSITORY, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mech` of an environment with this wheel in it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin/python"
    call = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "-q"]
    subprocess.run([*call, str(wheel)], check=True, capture_output=True)
    own = next((folder / "lib").glob("python*/site-packages"))
    # A path in a .pth file: the .pth files in it, such as that of an editable install, are not read.
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin/mech"


def called(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *arguments], cwd=cwd, env=without_clone(), text=True, capture_output=True
    )


def without_clone() -> dict[str, str]:
    """The environment without what leads back to the clone."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def test_the_wheel_holds_what_is_no_code(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "engine"], cwd=REPOSITORY, check=True, text=True, capture_output=True
    ).stdout.split("\n")
    assert {name for name in tracked if name and not name.endswith(".gitignore")} <= names
    assert "engine/demo/assets/demo.js" in names


def requirements(wheel: Path) -> list[Requirement]:
    archive = zipfile.ZipFile(wheel)
    name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = archive.read(name).decode().splitlines()
    return [Requirement(line.removeprefix("Requires-Dist: ")) for line in lines if "Requires-Dist" in line]


def test_all_that_any_extra_asks_for_is_in_one_tested_set(wheel: Path) -> None:
    text = (REPOSITORY / "constraints.txt").read_text()
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;#]+)", text, re.MULTILINE))
    pins = {re.sub(r"[-_.]+", "-", name).lower(): pin for name, pin in pinned.items()}
    extras = set()
    for wanted in requirements(wheel):
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if name == "pip":  # no part of the set: it installs it
            continue
        assert wanted.specifier.contains(pins[name].split("+")[0]), wanted
        extras |= set(re.findall(r"extra == '([\w-]+)'", str(wanted.marker).replace('"', "'")))
    assert {"demo", "papers", "cluster", "dev"} <= extras


def test_what_is_installed_here_agrees_with_itself_over_gradio() -> None:
    """Gradio is the extra whose bounds once kept it from a common set."""
    from importlib.metadata import requires

    for line in requires("gradio") or []:
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            try:
                assert wanted.specifier.contains(version(wanted.name), prereleases=True), wanted
            except PackageNotFoundError:
                pytest.fail(f"{wanted.name} is not installed")


@pytest.mark.model
def test_the_demo_answers_from_the_wheel_in_an_empty_folder(program: Path, tmp_path: Path) -> None:
    found = called(program, "demo", "--smoke", "--json", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert all(panel["found"] for panel in told["panels"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**without_clone(), "PYTHONUNBUFFERED": "1"}
    call = [str(program), "demo", "--port", str(port)]
    with subprocess.Popen(call, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        try:
            assert any("answers after" in line for line in served.stdout)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/demo/demo.js") as answer:
                assert b"mech-chart" in answer.read()
        finally:
            served.kill()


@pytest.mark.model
def test_a_spec_is_measured_from_the_wheel_in_an_empty_folder(program: Path, tmp_path: Path) -> None:
    (tmp_path / "lens.yaml").write_text(SPEC)
    found = called(program, "run", "--spec", "lens.yaml", cwd=tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "commit_layer" in found.stdout
    where = subprocess.run(
        [str(program.parent / "python"), "-c", "import engine; print(engine.__file__)"],
        cwd=tmp_path,
        env=without_clone(),
        text=True,
        capture_output=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(program.parents[1])
