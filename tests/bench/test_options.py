"""The options that benchmarks share, and how their numbers are shown and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.bench.options import options, show


def test_a_benchmark_names_a_model_only_where_it_loads_one() -> None:
    assert options("about", "tiny").parse_args([]).model == "tiny"
    given = options("about").parse_args(["--rounds", "2", "--json", "found.json"])
    assert (given.rounds, given.json) == (2, Path("found.json"))
    assert not hasattr(given, "model")


def test_what_is_found_is_printed_and_kept_where_a_file_is_named(tmp_path: Path, capsys: Any) -> None:
    found = {"ratio": 1.5}
    show(found, lambda numbers: f"ratio {numbers['ratio']}", None)
    show(found, lambda numbers: f"ratio {numbers['ratio']}", tmp_path / "found.json")
    assert capsys.readouterr().out == "ratio 1.5\nratio 1.5\n"
    assert json.loads((tmp_path / "found.json").read_text()) == found
