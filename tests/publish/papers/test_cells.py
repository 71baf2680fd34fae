"""Cells of a paper: run when asked for, outputs kept by hash, stale ones marked; a build runs none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import EngineError, TemplateError
from engine.publish.papers.build_paper import print_paper
from engine.publish.papers.cells import (
    CellOutputs,
    cell_keys,
    cells_of,
    execute_cells,
    kept_outputs,
    published_hash,
    with_outputs,
)
from engine.publish.publications import publication_in
from engine.runs.library import Library
from tests.publish import made_up

TEXT = """\
One.

```{python}
#| label: fig-a
#| fig-cap: Words.
#| echo: false
x = 2
```

```{python}
print(x + 1)
```

```python
no_cell
```
"""


def test_cells_with_their_options_and_lines() -> None:
    cells = cells_of(TEXT, "paper.qmd")
    assert [cell.line for cell in cells] == [3, 10]
    assert cells[0].options == {"label": "fig-a", "fig-cap": "Words.", "echo": False}
    assert cells[0].shown_code == "x = 2"
    with pytest.raises(TemplateError, match="options of a cell") as caught:
        cells_of("One.\n```{python}\n#| a: [\n1\n```\n", "paper.qmd")
    assert caught.value.where == "paper.qmd:2"


def test_a_cell_has_another_key_when_one_before_it_or_the_numbers_change(tmp_path: Path) -> None:
    published = tmp_path / "investigations/facts/published"
    published.mkdir(parents=True)
    (published / "m.json").write_text("1")
    before = published_hash(tmp_path, ["facts"])
    keys = cell_keys(cells_of(TEXT, ""), before)
    other = cell_keys(cells_of(TEXT.replace("x = 2", "x = 3"), ""), before)
    assert keys[0] != other[0] and keys[1] != other[1]
    later = cell_keys(cells_of(TEXT.replace("x + 1", "x + 2"), ""), before)
    assert keys[0] == later[0] and keys[1] != later[1]
    (published / "m.json").write_text("2")
    assert published_hash(tmp_path, ["facts"]) != before


def test_kept_outputs_stand_in_their_places_and_stale_ones_are_marked() -> None:
    cells = cells_of(TEXT, "p/paper.qmd")
    keys = ["a", "b"]
    kept = [CellOutputs("a", [{"image": "cell-1-1.svg"}]), CellOutputs("old", [{"text": "```3"}])]
    text, stale = with_outputs(TEXT, cells, keys, kept, "p/paper.qmd")
    assert "![Words.](outputs/cell-1-1.svg){#fig-a}" in text
    assert "x = 2" not in text and "```python\nprint(x + 1)\n```" in text
    assert "\n````\n```3\n````" in text and "earlier version of this cell" in text
    assert [(c.kind, c.where) for c in stale] == [("stale-cell", "p/paper.qmd:10")]
    nothing, never = with_outputs(TEXT, cells, keys, [], "p/paper.qmd")
    assert "was not run" in nothing and len(never) == 2 and "never run" in never[0].message


@pytest.mark.parametrize(
    ("tag", "end"), [("{% for i in range(2) %}", "{% endfor %}"), ("{% if false %}", "{% endif %}")]
)
@pytest.mark.parametrize("execute", [False, True])
def test_a_cell_that_is_not_printed_once_is_told_with_its_line(
    tmp_path: Path, tag: str, end: str, execute: bool
) -> None:
    before = "```{python}\nprint('before')\n```\n"
    inside = f"{tag}\n\n```{{python}}\nprint('inside')\n```\n\n{end}\n"
    after = "```{python}\nprint('after')\n```\n"
    text = f"---\ntitle: Cells\ninvestigations: [fact-recall]\n---\n\n{before}\n{inside}\n{after}"
    publication = publication_in(text, tmp_path / "cells/paper.qmd", "paper")
    library = Library({"fact-recall": made_up.ledger()})
    with pytest.raises(TemplateError, match="a cell stands in a loop or a condition") as caught:
        print_paper(publication, library, tmp_path, ["fact-recall"], execute=execute)
    assert caught.value.where == f"{publication.path}:12"
    assert caught.value.expected == "cells that the template prints once each"


def test_cells_are_run_in_this_environments_kernel(tmp_path: Path) -> None:
    text = TEXT.replace("x = 2", "from IPython.display import Markdown\nx = 2\nMarkdown('**two**')")
    cells = cells_of(text, "paper.qmd")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/cell-9-1.png").write_bytes(b"")
    made = execute_cells(cells, ["a", "b"], tmp_path, tmp_path, "paper.qmd")
    assert made == [CellOutputs("a", [{"markdown": "**two**"}]), CellOutputs("b", [{"text": "3\n"}])]
    assert kept_outputs(tmp_path) == made
    assert not (tmp_path / "outputs/cell-9-1.png").exists()
    # A cell that fails is told with its line and its output, and what was kept stays.
    failing = cells_of(text.replace("print(x + 1)", "print('so far')\n1 / 0"), "paper.qmd")
    with pytest.raises(EngineError, match="a cell failed") as caught:
        execute_cells(failing, ["a", "c"], tmp_path, tmp_path, "paper.qmd")
    assert caught.value.where == "paper.qmd:12"
    assert "ZeroDivisionError" in caught.value.seen and "\x1b" not in caught.value.seen
    assert kept_outputs(tmp_path) == made


def test_kept_outputs_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/cells.json").write_text(json.dumps([{"no": 1}]))
    with pytest.raises(TemplateError, match="cannot be read"):
        kept_outputs(tmp_path)
