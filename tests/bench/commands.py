"""Speed of the command line: help against an empty Typer app, and a build in which nothing changed.

python -m tests.bench.commands [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from tests.bench.rounds import moment, tell

EMPTY_APP = """
import sys, typer
app = typer.Typer()
@app.callback()
def nothing(): pass
@app.command()
def one(): pass
sys.argv = ["empty", "--help"]
app()
"""
CALL = "import sys; sys.argv = {}; from engine.cli import main; main()"
HELP = CALL.format(["engine", "--help"])
BUILD = CALL.format(["engine", "build", "--budget", "0", "--json"])
RUNS = CALL.format(["engine", "runs", "--json"])


def timed(code: str) -> tuple[float, str]:
    """Seconds that a fresh interpreter takes, and what it printed."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stdout


def help_seconds(rounds: int) -> tuple[float, float]:
    """Median seconds of our help and of an empty Typer app's, interleaved."""
    pairs = []
    for number in range(1, rounds + 1):
        now = moment()
        pair = {"engine --help, s": timed(HELP)[0], "empty app, s": timed(EMPTY_APP)[0]}
        tell("command line", number, rounds, pair | now)
        pairs.append(tuple(pair.values()))
    ours, empty = (statistics.median(side) for side in zip(*pairs, strict=True))
    return ours, empty


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    ours, empty = help_seconds(rounds)
    print(f"engine --help {ours:.3f} s, empty Typer app {empty:.3f} s, ratio {ours / empty:.2f} (bar 1.4)")
    timed(BUILD)
    build = statistics.median(timed(BUILD)[0] for _ in range(3))
    reused = {r["run_id"] for r in json.loads(timed(BUILD)[1])["plan"]["runs"] if r["decision"] == "reuse"}
    cold = sum(r["seconds"] for r in json.loads(timed(RUNS)[1]) if r["id"] in reused)
    if not cold:
        print(f"nothing changed: {build:.1f} s; no run is stored here to compare with (engine build first)")
        return
    share = build / (build + cold)
    print(
        f"nothing changed: {build:.1f} s; measuring the {len(reused)} runs: {cold:.0f} s, {share:.1%} (bar 5)"
    )


if __name__ == "__main__":
    main()
