"""Reference pages derived from the code: commands, families, the keys of a spec, calibrations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import cleandoc
from textwrap import dedent
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.main import get_command

from engine.evidence.plural import counted
from engine.evidence.result import Calibration
from engine.families import Declaration
from engine.publish.annotations import field_type, value_text
from engine.publish.markdown import code, page, plain, row
from engine.report.escape import sentence_for_site
from engine.spec.inputs import Inputs, PromptKind, Uses
from engine.spec.models import (
    Assumption,
    Claim,
    Contributor,
    CorpusChoice,
    Experiment,
    KeyNumber,
    PromptChoice,
    PublishedStatement,
    Spec,
)

FAMILIES = "reference/families/"
"""Where the families' pages lie under site/."""
PROMPTS: dict[PromptKind, str] = {
    "pairs": "a clean and a corrupted prompt of equal length, with the answer of each",
    "answers": "a prompt and its answer; pairs are enough too",
    "contrast": "two texts with one difference",
    "labelled": "texts with a label each",
    "chat": "requests, put into the model's own chat template",
}


def commands_page(app: Any) -> str:
    """Every command of a Typer app: what it does, how it is called, its options, an example."""
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


def family_pages(families: Mapping[str, Declaration]) -> dict[str, str]:
    """The families' pages by path, and a page that lists them."""
    pages: dict[str, str] = {}
    rows = [row("family", "what it measures"), row("---", "---")]
    for name, family in families.items():
        body = [plain(family.about), plain(family.method)]
        if family.pitfalls:
            body += ["## Pitfalls", plain(family.pitfalls)]
        body += ["## What it reads", _reads(family.inputs), "## Parameters", _keys(family.params)]
        pages[f"{FAMILIES}{name}.md"] = page(name, "\n\n".join(body), about=family.about)
        rows.append(row(f"[{code(name)}]({name}.md)", plain(family.about)))
    intro = "A family is an experiment kind: a method, its controls and the calibration that it must pass."
    pages[f"{FAMILIES}index.md"] = page("Families", f"{intro}\n\n" + "\n".join(rows), about=intro)
    return pages


def family_page_in_use(
    text: str, calibrations: Sequence[Calibration], users: Sequence[tuple[str, str, int]]
) -> str:
    """A family's page with its calibrations and the investigations that use it.

    `users` are (slug, title, how many experiments).
    """
    cases = [
        row(f"**{plain(c.name)}** {plain(c.about)}", plain(c.expected), f"{c.seen:.4g}", _outcome(c))
        for c in calibrations
    ]
    head = [row("case", "expected", "seen", "outcome"), row("---", "---", "---:", "---")]
    told = "\n".join([*head, *cases]) if cases else "None has been run here yet."
    all_of_them = "[All calibrations](../../reading-the-evidence/calibrations.md)"
    blocks = ["## Calibration", told, f"{all_of_them} and what they are for.", "## Used by"]
    links = [
        f"- [{sentence_for_site(title)}](../../investigations/{slug}/index.md) ({counted(n, 'experiment')})"
        for slug, title, n in users
    ]
    blocks.append("\n".join(links) or "No investigation uses it yet.")
    return "\n\n".join([text.rstrip(), *blocks]) + "\n"


def _outcome(calibration: Calibration) -> str:
    return "passed" if calibration.passed else "**failed**"


def _reads(inputs: Inputs) -> str:
    """What an experiment of the family names besides parameters, by the key in spec.yaml."""
    rows: list[str] = []
    if inputs.prompts:
        rows.append(row(code("prompts"), f"Prompts of the kind {inputs.prompts}: {PROMPTS[inputs.prompts]}."))
    if inputs.corpus:
        rows.append(row(code("corpus"), "The text that the model reads."))
    if inputs.site:
        rows.append(row(code("hook_site"), "Where in the model activations are read."))
    for name in inputs.site_parameters:
        key = code(f"parameters: {{{name}: ...}}")
        rows.append(row(key, "The places in the model where activations are read."))
    for role, uses in inputs.uses.items():
        rows.append(row(code(f"uses: {{{role}: ...}}"), _used(uses)))
    if inputs.second_model:
        key = code(f"parameters: {{{inputs.second_model}: ...}}")
        rows.append(row(key, "A second model to compare with; it may be left out."))
    for name, kind in inputs.prompt_parameters.items():
        key = code(f"parameters: {{{name}: NAME}}")
        rows.append(row(key, f"Further prompts of the kind {kind}: {PROMPTS[kind]}."))
    for name in inputs.coder_parameters:
        key = code(f"parameters: {{{name}: PATH}}")
        rows.append(row(key, "A dictionary trained elsewhere: the folder that SAELens wrote."))
    if not rows:
        return "Nothing but the model."
    return "\n".join([row("key", "what it names"), row("---", "---"), *rows])


def _used(uses: Uses) -> str:
    """Which experiment fills a role, and what it hands over."""
    experiment = f"An experiment of the family [{code(uses.family)}]({uses.family}.md)"
    swept = f", swept over {code(uses.over)} alone, two values or more" if uses.over else ", a single run"
    handed = " Its corpus and hook site are read here too, so neither is named again."
    optional = " It may be left out."
    return f"{experiment}{swept}.{handed if uses.hands_over else ''}{optional if uses.optional else ''}"


def spec_page() -> str:
    """Every key of a spec.yaml, as its pydantic classes declare them."""
    parts: dict[type[BaseModel], str] = {
        Spec: "The spec",
        Experiment: "An experiment",
        PromptChoice: "`prompts`",
        CorpusChoice: "`corpus`",
        Claim: "A claim",
        PublishedStatement: "`published` of a claim",
        Assumption: "An assumption",
        Contributor: "An author",
        KeyNumber: "A key number",
    }
    about = "Every key that an investigation's spec.yaml may have."
    body = [
        f"{about} Anything else is an error that names the file, the line and the nearest valid key. Editors "
        "that know YAML check it while you type, because each spec names the "
        "[JSON Schema](../schema/investigation.json) in its first line."
    ]
    for model, title in parts.items():
        body += [f"## {title}", plain(cleandoc(model.__doc__ or "")), _keys(model)]
    return page("spec.yaml", "\n\n".join(body), about=about)


def _keys(model: type[BaseModel]) -> str:
    """A table of a class's fields: its own first, then those that it shares with other classes."""
    shared = {name for base in model.__mro__[1:] for name in getattr(base, "model_fields", {})}
    names = sorted(model.model_fields, key=shared.__contains__)
    if not names:
        return "None."
    rows = [_key(name, model.model_fields[name]) for name in names]
    return "\n".join([row("key", "type", "default", "what it does"), row("---", "---", "---", "---"), *rows])


def _key(name: str, field: FieldInfo) -> str:
    default = "required"
    if not field.is_required():
        default = code(value_text(field.get_default(call_default_factory=True)))
    return row(code(name), code(field_type(field)), default, plain(field.description or ""))


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
            _outcome(c),
        )
        for family, cases in calibrations.items()
        for c in cases
    )
    head = [row("family", "case", "expected", "seen", "outcome"), row("---", "---", "---", "---:", "---")]
    return "\n".join([*head, *rows])
