"""Seconds that a site of many investigations takes to build: cold, unchanged, and with one of them changed.

    python -m tests.bench.site [N ...] [--profile FILE]

Each N (63 and 200 by default) is a project of that many copies of `investigations/fact-recall` in a
temporary folder, built by `engine build --budget 0` in a process of its own, as a person builds it. Every
figure is printed as it is measured. `--profile` writes the profile of the cold build of the first N.
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
from collections.abc import Sequence
from pathlib import Path

from tests.bench.rounds import moment, tell
from tests.runs.published.resealing import resealed

BENCH = "site"
ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "investigations" / "fact-recall"
BARS = "bars: 200 investigations within 60 s, unchanged within 5 % of cold, one changed within 3 s"
BUILD = "import sys; sys.argv = ['engine', 'build', '--budget', '0']; from engine.cli import main; main()"
PROFILED = "import cProfile; cProfile.run({build!r}, {file!r})"


def make_project(folder: Path, count: int) -> None:
    """A project of `count` investigations with their published numbers, each with charts of its own."""
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(ROOT / "site", folder / "site")
    for number in range(count):
        copy = folder / "investigations" / f"x-{number:03}"
        shutil.copytree(TEMPLATE, copy)
        # A chart is kept by what it is drawn from, so that equal copies would be drawn once.
        for published in (copy / "published").glob("*.json"):
            text = published.read_text(encoding="utf-8").replace('"title": "', f'"title": "{number}: ')
            published.write_text(json.dumps(resealed(json.loads(text)), indent=1), encoding="utf-8")


def build_seconds(folder: Path, profile: Path | None = None) -> float:
    """The wall clock of one `engine build --budget 0`, the start of Python included."""
    program = PROFILED.format(build=BUILD, file=str(profile.resolve())) if profile else BUILD
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"engine build ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return seconds


def change_one(folder: Path) -> None:
    """A sentence more in one report."""
    report = folder / "investigations" / "x-000" / "report.md"
    report.write_text(report.read_text(encoding="utf-8") + "\nOne sentence more.\n", encoding="utf-8")


def measure(count: int, profile: Path | None = None) -> dict[str, float]:
    """Seconds of the three builds of a project of `count` investigations, each printed when it is known."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_project(folder, count)
        cold = build_seconds(folder, profile)
        tell(BENCH, 1, 1, {f"{count} investigations cold, s": cold, **moment()})
        unchanged = build_seconds(folder)
        told = {f"{count} investigations unchanged, s": unchanged, "of cold": unchanged / cold}
        tell(BENCH, 1, 1, told | moment())
        change_one(folder)
        changed = build_seconds(folder)
        told = {f"{count} investigations, one changed, s": changed, "of cold": changed / cold}
        tell(BENCH, 1, 1, told | moment())
    return {"cold": cold, "unchanged": unchanged, "changed": changed}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Seconds that a site takes to build.")
    parser.add_argument("counts", type=int, nargs="*", default=[63, 200])
    parser.add_argument("--profile", type=Path)
    given = parser.parse_args(arguments)
    print(BARS, flush=True)
    for count in given.counts:
        measure(count, given.profile if count == given.counts[0] else None)


if __name__ == "__main__":
    main()
