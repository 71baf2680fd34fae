"""The code of the page on Python runs, block after block, on a planted model."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import engine as package
from tests.hand_written import blocks, replaced

PAGE = "guide/python.md"


def test_the_code_of_the_page_runs_from_top_to_bottom(project: Path, capsys: Any) -> None:
    # The page names the packaged facts, the default model and an investigation of the repository.
    (project / "investigations/planted").rename(project / "investigations/fact-recall")
    facts = project / "investigations/fact-recall/facts.csv"
    instead = {"smollm2-135m-instruct": project / "model", '"facts"': f'"{facts}"'}
    package.run("fact-recall/lens", quiet=True)
    names: dict[str, Any] = {}
    found = blocks(PAGE, "python")
    assert len(found) > 8
    for _, _, text in found:
        code = replaced(text, instead)
        exec(compile(code, PAGE, "exec"), names)
    told = capsys.readouterr()
    assert "nearest: commit_depth" in told.out
    assert "found-in-the-middle supported" in told.out
    assert repr(names["depth"]).startswith("0.667")
    assert names["facts"]["lens.logprob"].control is not None
    assert len(names["swept"].experiments) == 2
    assert names["lens"]["commit_depth"].n > 0
    assert names["facts"]["lens.commit_depth"] == package.load("fact-recall")["lens.commit_depth"]
    values = {source: eval(source, names) for source in shown(found)}
    assert values['again["commit_depth"] == facts["lens.commit_depth"]'] is True
    assert all(value is not None for value in values.values())


def shown(found: list[tuple[str, str, str]]) -> list[str]:
    """The expressions that a notebook would show, without those that name what is large."""
    lines = [node for _, _, text in found for node in ast.parse(text).body if isinstance(node, ast.Expr)]
    texts = [ast.unparse(node.value).replace("'", '"') for node in lines]
    return [text for text in texts if not text.startswith("print")]
