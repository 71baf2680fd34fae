"""`{python}` cells of a paper: run only when a person asks for it, their outputs committed beside the paper.

    ```{python}
    #| label: fig-rank
    #| fig-cap: The rank of the answer.
    #| echo: false
    engine.load("fact-recall").figure("lens.ranks")
    ```

`publications/<slug>/outputs/cells.json` has the outputs of each cell under a key: a hash of its code, of the
code of the cells before it, and of what is published of the paper's investigations. A build runs no cell: it
shows what is kept, and says of a cell whose key changed since that its output is stale.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from engine.errors import EngineError, TemplateError
from engine.report.lint import Concern

OUTPUTS = "outputs"
KEPT = "cells.json"
IMAGES = {"image/svg+xml": "svg", "image/png": "png"}
MOST_SECONDS = 600
_CELL = re.compile(r"^(?P<fence>`{3,})\{python\}[^\n]*\n(?P<code>.*?)^(?P=fence)[ \t]*$", re.M | re.S)
_OPTION = re.compile(r"^#\|[ \t]?(.*)$", re.M)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class PaperCell:
    """A cell as it is written: its code, its `#|` options, and the line of the file on which it begins."""

    code: str
    options: dict[str, Any]
    line: int

    @property
    def shown_code(self) -> str:
        """The code without its options."""
        return _OPTION.sub("", self.code).strip("\n")


@dataclass(frozen=True)
class CellOutputs:
    """What a cell printed, under its key: pieces of {"text": ...}, {"markdown": ...} or {"image": FILE}."""

    key: str
    outputs: Sequence[dict[str, str]] = field(default_factory=list)


def cells_of(text: str, file: str) -> list[PaperCell]:
    """The cells of a text. TemplateError with its line for options that are no YAML."""
    found = []
    for cell in _CELL.finditer(text):
        line = text.count("\n", 0, cell.start()) + 1
        options = "\n".join(_OPTION.findall(cell["code"]))
        try:
            read = yaml.safe_load(options) if options else {}
        except yaml.YAMLError as error:
            raise TemplateError(
                "the options of a cell are no YAML", where=f"{file}:{line}", expected="#| key: value",
                seen=str(error).splitlines()[0],
            ) from error  # fmt: skip
        found.append(PaperCell(cell["code"], read if isinstance(read, dict) else {}, line))
    return found


def cell_keys(cells: Iterable[PaperCell], published: str) -> list[str]:
    """The key of each cell; `published` is a hash of what its investigations have published."""
    digest = hashlib.sha256(published.encode())
    keys = []
    for cell in cells:
        digest.update(f"\0{cell.code}".encode())
        keys.append(digest.hexdigest()[:32])
    return keys


def published_hash(root: Path, slugs: Iterable[str]) -> str:
    """A hash over the published files of some investigations."""
    digest = hashlib.sha256()
    for slug in sorted(slugs):
        for path in sorted((root / "investigations" / slug / "published").glob("*")):
            if path.is_file():
                digest.update(f"\0{slug}/{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def kept_outputs(folder: Path) -> list[CellOutputs]:
    """The outputs that lie beside a paper; TemplateError where they cannot be read."""
    path = folder / OUTPUTS / KEPT
    if not path.is_file():
        return []
    try:
        return [CellOutputs(cell["key"], cell["outputs"]) for cell in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TemplateError(
            "the kept outputs of cells cannot be read",
            where=str(path),
            seen=str(error),
            hint=f"engine paper build {folder.name} --execute makes them anew",
        ) from error


def refuse_other_cells(text: str, cells: Sequence[PaperCell], file: str) -> None:
    """TemplateError with its line for a cell of the file that does not stand once in the printed `text`.

    What a cell printed is found by its place among the cells, which a loop or a condition would shift.
    """
    printed = [cell["code"] for cell in _CELL.finditer(text)]
    written = [cell.code for cell in cells]
    if printed == written:
        return
    uneven = [cell for cell in cells if printed.count(cell.code) != written.count(cell.code)]
    moved = [cell for cell, code in zip(cells, printed, strict=False) if cell.code != code]
    raise TemplateError(
        "a cell stands in a loop or a condition",
        where=f"{file}:{[*uneven, *moved, *cells][0].line}",
        expected="cells that the template prints once each",
    )


def with_outputs(
    text: str, cells: Sequence[PaperCell], keys: Sequence[str], kept: Sequence[CellOutputs], file: str
) -> tuple[str, list[Concern]]:
    """The text with each cell's code and kept output in its place, and a concern for each that is stale.

    `cells` are those of the file, with its lines; those of the `text` are the same ones in the same order:
    `refuse_other_cells` sees to it.
    """
    by_key = {cell.key: cell for cell in kept}
    stale: list[Concern] = []
    numbered = iter(range(len(cells)))

    def spliced(found: re.Match[str]) -> str:
        at = next(numbered)
        known = by_key.get(keys[at])
        # Another cell's output in its place would mislead, but that of the same place is what it said before.
        shown = known or (kept[at] if at < len(kept) else None)
        if known is None:
            what = "changed since its output was kept" if shown else "was never run"
            said = f"this cell {what}: engine paper build {Path(file).parent.name} --execute"
            stale.append(Concern("stale-cell", f"{file}:{cells[at].line}", said))
        return _block(cells[at], shown, is_stale=known is None)

    return _CELL.sub(spliced, text), stale


def _block(cell: PaperCell, shown: CellOutputs | None, is_stale: bool) -> str:
    parts = [f"```python\n{cell.shown_code}\n```"] if cell.options.get("echo", True) else []
    if is_stale:
        words = (
            "The output below is of an earlier version of this cell." if shown else "This cell was not run."
        )
        parts.append(f'::: {{.callout-warning title="Stale"}}\n{words}\n:::')
    for output in shown.outputs if shown else ():
        parts.append(_output(cell, output))
    return "\n" + "\n\n".join(parts) + "\n"


def _output(cell: PaperCell, output: dict[str, str]) -> str:
    label = str(cell.options.get("label", ""))
    if "image" in output:
        id = f"{{#{label}}}" if label.startswith("fig-") else ""
        return f"![{cell.options.get('fig-cap', '')}]({OUTPUTS}/{output['image']}){id}"
    if "markdown" in output:
        caption = cell.options.get("tbl-cap", "")
        id = f" {{#{label}}}" if label.startswith("tbl-") else ""
        return output["markdown"].strip() + (f"\n\n: {caption}{id}" if caption or id else "")
    fence = "```"
    while fence in output["text"]:
        fence += "`"
    return f"{fence}\n{output['text'].rstrip()}\n{fence}"


def execute_cells(
    cells: Sequence[PaperCell], keys: Sequence[str], folder: Path, root: Path, file: str
) -> list[CellOutputs]:
    """Run the cells in this environment's kernel, keep their outputs beside the paper, and return them.

    EngineError with the output of a cell that fails, and with what to install where the extra is missing.
    """
    try:
        import nbclient
        import nbformat
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    except ImportError:
        hint = "pip install 'mech-interpretability[papers]'"
        raise EngineError(
            "cells cannot be run without nbclient", expected="the extra `papers`", hint=hint
        ) from None
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.code) for cell in cells])
    client = nbclient.NotebookClient(
        notebook, timeout=MOST_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(root)}}
    )
    client.extra_arguments = ["--log-level=ERROR"]  # a kernel's own warnings are nothing that a cell said
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError, RuntimeError) as error:
        # Cells run in order: the first without a count is the one that was at work.
        failed = next((i for i, c in enumerate(notebook.cells) if _failed(c) or not c.execution_count), 0)
        seen = _ANSI.sub("", str(error)).strip()
        raise EngineError("a cell failed", where=f"{file}:{cells[failed].line}", seen=seen) from error
    made = folder / OUTPUTS
    made.mkdir(exist_ok=True)
    found = [
        CellOutputs(key, [_kept(output, f"cell-{at}-{n}", made) for n, output in enumerate(cell.outputs, 1)])
        for at, (key, cell) in enumerate(zip(keys, notebook.cells, strict=True), 1)
    ]
    _remove_others(made, found)
    data = [{"key": cell.key, "outputs": list(cell.outputs)} for cell in found]
    (made / KEPT).write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return found


def _failed(cell: Any) -> bool:
    return any(output.output_type == "error" for output in cell.outputs)


def _kept(output: Any, name: str, folder: Path) -> dict[str, str]:
    """One output of a notebook as it is kept: an image as a file, else Markdown, else text."""
    if output.output_type == "stream":
        return {"text": _ANSI.sub("", output.text)}
    data = output.get("data", {})
    for kind, suffix in IMAGES.items():
        if kind in data:
            content = data[kind].encode() if suffix == "svg" else base64.b64decode(data[kind])
            (folder / f"{name}.{suffix}").write_bytes(content)
            return {"image": f"{name}.{suffix}"}
    if "text/markdown" in data:
        return {"markdown": data["text/markdown"]}
    return {"text": _ANSI.sub("", data.get("text/plain", ""))}


def _remove_others(folder: Path, found: Iterable[CellOutputs]) -> None:
    """Images of earlier runs, which no cell shows any more."""
    named = {output.get("image") for cell in found for output in cell.outputs}
    for path in folder.glob("cell-*"):
        if path.name not in named:
            path.unlink()
