"""The reference of what a family can use, derived from the code: lab, model, instruments, evidence, charts.

The sources are parsed and never imported, so that a page about torch code costs no torch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from pathlib import Path

from engine.evidence.estimates import ESTIMATORS
from engine.publish.markdown import code, page, plain, row
from engine.publish.reference import PROMPTS
from engine.report.charts.kinds import KINDS, OPTIONS
from engine.spec.sites import READABLE_SITES

ENGINE = Path(__file__).parents[1]
ABOUT = "What a family can use: the lab, the model, the instruments, evidence and charts."
FROM = ("engine.lab.", "engine.data.", "engine.models.", "engine.evidence.")
"""Whose functions and classes are instruments, where a family imports them."""
PARTS = {
    "x": "the horizontal place",
    "y": "the vertical place",
    "low": "the lower end of the interval",
    "high": "the upper end of the interval",
    "color": "a colour each, or for a heatmap the value of the cell",
    "facet": "a panel each",
    "label": "what is said when a point is pointed at",
}


@dataclass(frozen=True)
class Definition:
    """A function or class of a source file: how it is called, what it says of itself, its public parts."""

    name: str
    signature: str
    about: str
    parts: tuple[Definition, ...] = ()


@cache
def definitions(path: Path) -> dict[str, Definition]:
    """The public functions and classes of one source file, in its order."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: dict[str, Definition] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = _function(node)
        elif isinstance(node, ast.ClassDef):
            # What a class of the package hands down comes first, as in a dataclass.
            bases = [ast.unparse(base) for base in node.bases]
            above = [part for base in bases for part in _handed_down(base, found, tree)]
            own = list(_parts_of(node))
            redefined = {part.name for part in own}
            parts = [part for part in above if part.name not in redefined] + own
            found[node.name] = Definition(node.name, node.name, _docstring(node), tuple(parts))
    return {name: definition for name, definition in found.items() if not name.startswith("_")}


def _handed_down(base: str, found: Mapping[str, Definition], tree: ast.Module) -> tuple[Definition, ...]:
    """The parts of a base class, of the same file or imported from another of the package."""
    if base in found:
        return found[base].parts
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and base in names and (node.module or "").startswith("engine."):
            return definitions(_file_of(node.module or ""))[base].parts
    return ()


def _file_of(module: str) -> Path:
    """The source file of a dotted name of the package."""
    return ENGINE.parent.joinpath(*module.split(".")).with_suffix(".py")


def _function(node: ast.FunctionDef) -> Definition:
    return Definition(node.name, _signature(node), _docstring(node))


def _docstring(node: ast.FunctionDef | ast.ClassDef) -> str:
    return cleandoc(ast.get_docstring(node) or "")


def _signature(node: ast.FunctionDef) -> str:
    arguments = ast.unparse(node.args)
    inside = ", ".join(part for part in arguments.split(", ") if part != "self")
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    if decorators & {"property", "cached_property"}:
        return node.name
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({inside}){returns}"


def _parts_of(node: ast.ClassDef) -> Iterator[Definition]:
    """The fields and methods of a class, and the methods that are one with an argument filled in."""
    for position, part in enumerate(node.body):
        if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
            yield _function(part)
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield Definition(part.target.id, f"{part.target.id}: {ast.unparse(part.annotation)}", "")
        elif isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name):
            name = part.targets[0].id
            below = node.body[position + 1] if position + 1 < len(node.body) else None
            said = ast.get_docstring(ast.Module([below], [])) if isinstance(below, ast.Expr) else ""
            yield Definition(name, f"{name}(...)", said or "")


def instruments_page(families: Iterable[str]) -> str:
    """What there is for a family, from its file to its charts; `families` have a page to link to."""
    body = [
        f"{ABOUT} Derived from the code. [The tutorial](../guide/tutorial.md) writes a family with it.",
        "## The file of a family",
        "`engine new --family NAME` writes `engine/families/NAME.py` and its test. A family has a docstring "
        "(the method in numbered steps, its source, the unit of each number), `inputs` (what an experiment "
        "must name), `class Params(FamilyParams)` with a docstring under each field, "
        "`run(lab, params) -> Result` and `calibrate() -> list[Calibration]`.",
        *_class("spec/inputs.py", "Inputs", "`inputs = Inputs(...)`"),
        _table("prompts", "what each is", [row(code(k.upper()), plain(said)) for k, said in PROMPTS.items()]),
        *_class("lab/lab.py", "Lab", "`lab`: what an experiment is given"),
        *_class("lab/facts.py", "Facts", "Facts: what `lab.known_facts()` gives"),
        *_class("data/pairs.py", "PromptPairs", "Tokenised pairs: `facts.prompts`, `lab.tokenized()`"),
        *_class("models/hooked.py", "HookedModel", "`lab.model`"),
        "## Hook sites",
        _hook_sites(),
        *_class("evidence/builder.py", "Evidence", "Evidence: `facts.evidence()`, `Evidence(unit, ids)`"),
        f"`statistic` is {', '.join(map(code, ESTIMATORS))}, or any function of the rows. With too few units "
        "an interval is withheld, and the number says why.",
        *_class("evidence/builder.py", "EvidenceTable", "Charts of a table: `ev.table(name, frame)`"),
        "## Chart kinds",
        "A part is a column of the table, with its title behind it where that differs: `layer: blocks read`.",
        _chart_kinds(),
        _options(),
        "## Instruments",
        "What the families here import, and which of them use it, to see it at work.",
        _instruments(frozenset(families)),
    ]  # fmt: skip
    return page("What a family can use", "\n\n".join(body), about=ABOUT)


def _class(file: str, name: str, title: str) -> list[str]:
    """A class under a heading: what it is, then its fields and methods."""
    found = definitions(ENGINE / file)[name]
    fields = ", ".join(code(part.signature) for part in found.parts if not part.about)
    rows = [row(_breakable(p.signature), plain(_first_paragraph(p.about))) for p in found.parts if p.about]
    blocks = [f"## {title}", f"`{name}`, in `engine/{file}`.", plain(found.about)]
    blocks += [f"It has {fields}."] if fields else []
    return blocks + ([_table("", "what it gives", rows)] if rows else [])


def _hook_sites() -> str:
    rows = [row(code(f"blocks.6.{kind.name}"), code(kind.axes), f"`{kind.short}`") for kind in READABLE_SITES]
    head = [row("site", "axes", "short name"), row("---", "---", "---")]
    said = (
        "`lab.model.forward(ids, read=[...], edit={...})` reads and edits there. `site_of(name, n_layers)` "
        "is one of them, and `lab.model.sites(RESID_PRE)` are those of one kind in all layers."
    )
    return f"{said}\n\n" + "\n".join([*head, *rows])


def _chart_kinds() -> str:
    """Each kind with the parts it needs and may have, and which of them must be numbers."""
    drawn = definitions(ENGINE / "report/charts/kinds.py")
    rows = []
    for name, kind in KINDS.items():
        parts = [", ".join(map(code, names)) for names in (kind.needs, kind.may, kind.numbers)]
        rows.append(row(code(name), *parts, plain(_first_paragraph(drawn[name].about))))
    head = [row("kind", "needs", "may have", "numbers", "what is drawn"), row(*["---"] * 5)]
    parts_table = _table("part", "what it decides", [row(code(p), said) for p, said in PARTS.items()])
    return "\n".join([*head, *rows]) + f"\n\n{parts_table}"


def _options() -> str:
    rows = [row(code(name), plain(about)) for name, about in OPTIONS.items()]
    return _table("option", "what it does", rows)


def _instruments(linked: frozenset[str]) -> str:
    """A row for each function or class that families import, with the families that do."""
    users: dict[tuple[str, str], list[str]] = {}
    for family, module, name in _imports_of_families():
        if family not in users.setdefault((module, name), []):
            users[module, name].append(family)
    blocks = []
    for module in sorted({module for module, _ in users}):
        path = _file_of(module)
        known = definitions(path) if path.is_file() else {}
        rows = []
        for name in sorted(name for where, name in users if where == module and name in known):
            used = [f"[{f}](families/{f}.md)" if f in linked else f for f in users[module, name]]
            found = known[name]
            rows.append(
                row(_breakable(found.signature), plain(_first_paragraph(found.about)), ", ".join(used))
            )
        if rows:
            head = [row("", "what it does", "used by"), row("---", "---", "---")]
            about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            blocks += [f"### {module}", plain(_first_paragraph(about)), "\n".join([*head, *rows])]
    return "\n\n".join(blocks)


def _imports_of_families() -> Iterator[tuple[str, str, str]]:
    """(family, module, name) of what the files of each family import from the rooms above them."""
    folder = ENGINE / "families"
    for path in sorted(folder.rglob("*.py")):
        family = path.relative_to(folder).parts[0].removesuffix(".py")
        if family == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(FROM):
                for alias in node.names:
                    yield family, node.module or "", alias.name


def _breakable(text: str) -> str:
    """A signature as code that may break between its parameters, so that what it does stays in sight."""
    return f"{code(text)}{{.mech-signature}}"


def _first_paragraph(text: str) -> str:
    return text.partition("\n\n")[0]


def _table(left: str, right: str, rows: Iterable[str]) -> str:
    return "\n".join([row(left, right), row("---", "---"), *rows])
