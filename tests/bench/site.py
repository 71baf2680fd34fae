"""Seconds that a site of many investigations takes: cold, unchanged, one edited, one published anew.

    python -m tests.bench.site [N ...] [--own-pictures] [--profile FILE]

Each N (63 and 200 by default) is a project of that many copies of `investigations/fact-recall` in a
temporary folder, built by `engine build --budget 0` in a process of its own, as a person builds it. Every
figure is printed as it is measured, beside the seconds of CPU, which other work on the machine moves less.
The copies' charts differ in their words and not in what they draw, so that their pictures are drawn once for
all; with `--own-pictures` each of them draws something else. `--profile` writes the profile of the cold build
of the first N.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.rounds import moment, tell
from tests.runs.published.resealing import resealed

BENCH = "site"
ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "investigations" / "fact-recall"
BARS = "bars: 200 investigations within 60 s, unchanged within 5 % of cold, one changed within 3 s"
BUILD = "import sys; sys.argv = ['engine', 'build', '--budget', '0']; from engine.cli import main; main()"
PROFILED = "import cProfile; cProfile.run({build!r}, {file!r})"


def make_project(folder: Path, count: int, own_pictures: bool = False) -> None:
    """A project of `count` investigations with their published numbers, each with charts of its own."""
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(ROOT / "site", folder / "site")
    for number in range(count):
        copy = folder / "investigations" / f"x-{number:03}"
        shutil.copytree(TEMPLATE, copy)
        # A chart is kept by what it is drawn from, so that equal copies would be drawn once.
        for published in (copy / "published").glob("*.json"):
            text = published.read_text(encoding="utf-8").replace('"title": "', f'"title": "{number}: ')
            data = json.loads(text)
            if own_pictures:
                _name_axes(data, number)
            published.write_text(json.dumps(resealed(data), indent=1), encoding="utf-8")


def _name_axes(data: dict, number: int) -> None:
    """Write a number on an axis of every figure."""
    for run in data["runs"].values():
        for figure in run["figures"].values():
            figure.setdefault("options", {})["x_title"] = f"axis {number}"


def build_seconds(folder: Path, profile: Path | None = None) -> tuple[float, float]:
    """Wall clock and CPU seconds of one `engine build --budget 0`, the start of Python included."""
    program = PROFILED.format(build=BUILD, file=str(profile.resolve())) if profile else BUILD
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    used = children_seconds()
    started = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"engine build ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return seconds, children_seconds() - used


def children_seconds() -> float:
    """CPU seconds of all processes that this one has started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def change_one(folder: Path) -> None:
    """A sentence more in one report."""
    report = folder / "investigations" / "x-000" / "report.md"
    report.write_text(report.read_text(encoding="utf-8") + "\nOne sentence more.\n", encoding="utf-8")


def publish_one(folder: Path) -> None:
    """Another value of one published number, with the digests of one that was measured."""
    file = next((folder / "investigations" / "x-000" / "published").glob("*.json"))
    data = json.loads(file.read_text(encoding="utf-8"))
    numbers = [number for run in data["runs"].values() for number in run["measurements"].values()]
    numbers[0]["value"] += 1
    file.write_text(json.dumps(resealed(data), indent=1), encoding="utf-8")


def measure(count: int, profile: Path | None = None, *, own_pictures: bool = False) -> dict[str, float]:
    """Seconds of the four builds of a project of `count` investigations, each printed when it is known."""
    changes: dict[str, Callable[[Path], object]] = {
        "cold": lambda folder: None,
        "unchanged": lambda folder: None,
        "one changed": change_one,
        "one published anew": publish_one,
    }
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_project(folder, count, own_pictures)
        for name, change in changes.items():
            change(folder)
            found[name], cpu = build_seconds(folder, None if found else profile)
            told = {f"{count} investigations {name}, s": found[name], "CPU, s": cpu}
            told["of cold"] = found[name] / found["cold"]
            tell(BENCH, 1, 1, told | moment())
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Seconds that a site takes to build.")
    parser.add_argument("counts", type=int, nargs="*", default=[63, 200])
    parser.add_argument("--own-pictures", action="store_true")
    parser.add_argument("--profile", type=Path)
    given = parser.parse_args(arguments)
    print(BARS, flush=True)
    for count in given.counts:
        profile = given.profile if count == given.counts[0] else None
        measure(count, profile, own_pictures=given.own_pictures)


if __name__ == "__main__":
    main()
