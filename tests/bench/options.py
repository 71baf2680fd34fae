"""The command line that benchmarks have in common: a model, how many rounds, and a file for the numbers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def options(about: str | None, model: str = "") -> argparse.ArgumentParser:
    """`--rounds` and `--json`, and `--model` where a benchmark loads one; a benchmark adds its own."""
    found = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    if model:
        found.add_argument("--model", default=model)
    found.add_argument("--rounds", type=int, default=5)
    found.add_argument("--json", type=Path, help="write the numbers here as well")
    return found


def show(found: dict[str, Any], report: Callable[[dict[str, Any]], str], file: Path | None) -> None:
    """Print what was found as its report, and write it as JSON where a file is named."""
    print(report(found))
    if file:
        file.write_text(json.dumps(found, indent=2) + "\n")
