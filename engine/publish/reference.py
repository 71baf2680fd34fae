"""Reference pages derived from the code: commands, families, the keys of a spec, calibrations."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path
from textwrap import dedent
from typing import Any

from engine.evidence.result import Calibration
from engine.families import files as family_files
from engine.publish.markdown import code, page, plain, row


@dataclass(frozen=True)
class Field:
    """One key that a person may write, as its pydantic class declares it."""

    name: str
    type: str
    default: str  # empty where the key is required
    about: str


def commands_page(app: Any) -> str:
    """Every command of a Typer app: what it does, how it is called, its options, an example."""
    from typer.main import get_command

    about = "Every command of the engine, with an example."
    body = ["`engine` and `mech` are the same program: wherever one is written, the other works."]
    for name, command in _commands("", get_command(app)):
        body += _command(name, command)
    return page("Commands", "\n\n".join(body), about=about)


def _commands(prefix: str, group: Any) -> Iterator[tuple[str, Any]]:
    """(name, command) of every command, those of a group after the group itself."""
    for name, command in sorted(getattr(group, "commands", {}).items()):
        if not command.hidden:
            yield f"{prefix}{name}", command
            yield from _commands(f"{prefix}{name} ", command)


def _command(name: str, command: Any) -> list[str]:
    about, example = _split_example(cleandoc(command.help or ""))
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join(["engine", name, *(_metavar(p) for p in arguments), *(["[OPTIONS]"] if options else [])])
    body = [f"## {name}", plain(about), f"```console\n{usage}\n```"]
    if rows := [_option(p) for p in [*arguments, *options]]:
        body.append("\n".join([row("option", "default", "what it does"), row("---", "---", "---"), *rows]))
    return body + ([f"Example:\n\n```console\n{example}\n```"] if example else [])


def _split_example(text: str) -> tuple[str, str]:
    """The help of a command, and the example that it ends with."""
    about, _, example = text.replace("\b\n", "").partition("Example:")
    return about.strip(), dedent(example.lstrip("\n")).strip()


def _metavar(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).upper()
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    names = [*parameter.opts, *parameter.secondary_opts] if is_option else [_metavar(parameter)]
    default = parameter.default
    shown = "" if callable(default) or default in (None, False, "", ()) else code(str(default))
    return row(" ".join(code(n) for n in names), shown, plain(getattr(parameter, "help", None) or ""))


def family_pages(folder: Path) -> dict[str, str]:
    """The families' pages by path, read from the source files in `folder` without importing them."""
    pages, rows = {}, [row("family", "what it measures"), row("---", "---")]
    for name, source in family_files(folder).items():
        tree = ast.parse(source.read_text(encoding="utf-8"))
        about, _, method = (ast.get_docstring(tree) or "").partition("\n")
        body = [plain(about), plain(method.strip()), "## Parameters", _keys(_class(tree, "Params"))]
        pages[f"reference/families/{name}.md"] = page(name, "\n\n".join(body), about=about)
        rows.append(row(f"[{code(name)}]({name}.md)", plain(about)))
    intro = "A family is an experiment kind: a method, its controls and the calibration that it must pass."
    pages["reference/families/index.md"] = page("Families", f"{intro}\n\n" + "\n".join(rows), about=intro)
    return pages


def spec_page(source: Path) -> str:
    """Every key of a spec.yaml, read from the pydantic classes in `source`."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    parts = {"Spec": "The spec", "Experiment": "An experiment", "PromptChoice": "`prompts`"}
    parts |= {"CorpusChoice": "`corpus`", "Claim": "A claim"}
    about = "Every key that an investigation's spec.yaml may have."
    body = [
        f"{about} Anything else is an error that names the file, the line and the nearest valid key. Editors "
        "that know YAML check it while you type, because each spec names the "
        "[JSON Schema](../schema/investigation.json) in its first line."
    ]
    for name, title in parts.items():
        node = _class(tree, name)
        body += [f"## {title}", plain(ast.get_docstring(node) or ""), _keys(node)]
    return page("spec.yaml", "\n\n".join(body), about=about)


def _class(tree: ast.Module, name: str) -> ast.ClassDef:
    empty = ast.ClassDef(name=name, bases=[], keywords=[], body=[], decorator_list=[])
    return next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), empty)


def fields(node: ast.ClassDef) -> list[Field]:
    """The annotated fields of a class with their defaults and the docstring under each."""
    found = []
    for here, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(here, ast.AnnAssign) and isinstance(here.target, ast.Name):
            described = _type(here.annotation), _default(here.value), _docstring(after)
            found.append(Field(here.target.id, *described))
    return found


def _default(value: ast.expr | None) -> str:
    """A default as written, also from inside a pydantic `Field(...)`; empty for none."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "Field":
        named = (k.value for k in value.keywords if k.arg in ("default", "default_factory"))
        return _default(next(iter([*value.args, *named]), None))
    return ast.unparse(value) if value else ""


def _type(annotation: ast.expr) -> str:
    """A type as written, less the conditions of `Annotated`, which the docstring tells."""
    return ast.unparse(_Bare().visit(annotation))


class _Bare(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.slice, ast.Tuple) and ast.unparse(node.value) == "Annotated":
            return node.slice.elts[0]
        return node


def _docstring(node: ast.stmt | None) -> str:
    text = node.value.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else ""
    return " ".join(cleandoc(text).split()) if isinstance(text, str) else ""


def _keys(node: ast.ClassDef) -> str:
    keys = fields(node)
    if not keys:
        return "None."
    rows = [row(code(f.name), code(f.type), code(f.default) or "required", plain(f.about)) for f in keys]
    return "\n".join([row("key", "type", "default", "what it does"), row("---", "---", "---", "---"), *rows])


def calibrations_page(calibrations: Mapping[str, Sequence[Calibration]]) -> str:
    """Each family's calibrations: the known answer and what the method saw."""
    about = "Each family is run on cases whose answer is known by construction."
    body = f"{about} A method that fails its calibration marks every investigation that uses it."
    none = "No calibration has been run here yet."
    table = _calibrations(calibrations) if any(calibrations.values()) else none
    return page("Calibrations", f"{body}\n\n{table}", about=about)


def _calibrations(calibrations: Mapping[str, Sequence[Calibration]]) -> str:
    rows: Iterable[str] = (
        row(
            f"[{code(family)}](../reference/families/{family}.md)",
            f"**{plain(c.name)}** {plain(c.about)}",
            plain(c.expected),
            f"{c.seen:.4g}",
            "passed" if c.passed else "**failed**",
        )
        for family, cases in calibrations.items()
        for c in cases
    )
    head = [row("family", "case", "expected", "seen", "outcome"), row("---", "---", "---", "---:", "---")]
    return "\n".join([*head, *rows])
