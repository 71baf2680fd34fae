"""Safe YAML or JSON in which every value knows its line, column and path.

Plain scalars follow YAML 1.2, so that nothing surprises: only `true` and `false` are booleans (`no`,
`off` and `12:30` are text, and so are dates), `1e-3` is a number, `1e6` and `200_000` are whole
numbers. Keys are always text. Anchors, aliases and `<<` merges work; tags that build objects do not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from engine.errors import SpecError
from engine.spec.broken import broken_yaml, one_line

Loc = tuple[str | int, ...]

BLOCK_STARTS = re.compile(r"^[ ?:-]*(?![ ?:#\n-])", re.MULTILINE)
READ_OTHERWISE = re.compile(r"\t|\ufeff|[\[{].*\?")  # what libyaml lets through and PyYAML refuses
BRACKETS = re.compile(r"[\[\]{}]")
MAX_BYTES = 256_000
MAX_DEPTH = 40
MAX_NESTING_READ_QUICKLY = MAX_DEPTH
MAX_VALUES = 20_000  # what a file may grow to once its aliases are expanded

CORE = "tag:yaml.org,2002:"
WHOLE = r"(?:0|[1-9](?:_?[0-9])*)"
PLAIN_SCALARS = [
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", rf"[-+]?{WHOLE}", list("-+0123456789")),
    ("float", rf"[-+]?(?:\.[0-9]+|{WHOLE}(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
]


# PyYAML from a source build may lack libyaml: then both readers are the same.
LIBYAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Reader(yaml.SafeLoader):
    """PyYAML's reader with the plain scalars of YAML 1.2, and a floor to how deep it goes."""

    yaml_implicit_resolvers: dict = {}
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        # Composing recurses: without a floor, nested brackets end in Python's RecursionError, which has no
        # line.
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class QuickReader(LIBYAML_LOADER):
    """`Reader` on libyaml's parser, ten times as fast, where PyYAML was built with it.

    It has other words for what is wrong, and no floor: see `_compose`.
    """

    yaml_implicit_resolvers: dict = {}


class Writer(yaml.SafeDumper):
    """PyYAML's writer, quoting exactly what `Reader` would not read back as text."""

    yaml_implicit_resolvers: dict = {}


for _tag, _pattern, _first in PLAIN_SCALARS:
    # The writer too, so that it quotes what the readers would take for something else than text.
    for _side in (Reader, QuickReader, Writer):
        _side.add_implicit_resolver(CORE + _tag, re.compile(rf"^(?:{_pattern})$"), _first)


@dataclass(frozen=True)
class Place:
    """Where a value stands in its file; lines and columns count from 1, and are 0 where there is no file."""

    line: int
    column: int
    path: str


@dataclass(frozen=True)
class Document:
    """Plain data, with the place of every value and of every key by its location."""

    file: str
    value: Any
    values: dict[Loc, Place]
    keys: dict[Loc, Place]

    def place(self, loc: Loc, of_key: bool = False) -> Place:
        """The place of a value (or of its key), or of the nearest ancestor that is in the file."""
        if of_key and loc in self.keys:
            return self.keys[loc]
        # What is missing has no place of its own: the mapping that lacks it has one.
        while loc and loc not in self.values:
            loc = loc[:-1]
        return self.values[loc]

    def where(self, loc: Loc, of_key: bool = False) -> str:
        """`file:line:column: path`."""
        place = self.place(loc, of_key)
        file = f"{self.file}:{place.line}:{place.column}" if place.line else self.file
        return ": ".join(filter(None, [file, place.path]))


def dotted(loc: Loc) -> str:
    """`experiments.layer0.sweep.seed[2]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return text.removeprefix(".")


def read_document(path: Path) -> Document:
    """The data of one YAML or JSON file; SpecError with line and column where it is neither."""
    text = _read_text(path)
    if path.suffix == ".json":
        text = text.replace("\t", " ")  # JSON indents with them; inside its strings they are not allowed
    document = document_in(text, str(path))
    if document is None:
        expected = "title, question, models, experiments"
        raise SpecError("the file is empty", where=f"{path}:1:1", expected=expected)
    return document


def document_in(text: str, file: str) -> Document | None:
    """The data of a YAML text that stands in a file; None where nothing is in it. SpecError as above."""
    root = _compose(text, file)
    if root is None:
        return None
    builder = _Builder(file)
    value = builder.build(root, (), root.start_mark)
    return Document(file, value, builder.values, builder.keys)


def document_of(value: Any, name: str) -> Document:
    """Plain data that is in no file, called `name` in messages: every value knows its path."""
    values: dict[Loc, Place] = {}

    def noted(value: Any, loc: Loc) -> Any:
        values[loc] = Place(0, 0, dotted(loc))
        if isinstance(value, Mapping):
            return {str(key): noted(inner, (*loc, str(key))) for key, inner in value.items()}
        if isinstance(value, list | tuple | range):
            return [noted(inner, (*loc, index)) for index, inner in enumerate(value)]
        if isinstance(value, Path):
            return str(value)
        # A number of numpy is the Python number that it holds.
        return value.item() if hasattr(value, "item") else value

    data = noted(value, ())
    return Document(name, data, values, dict(values))


def read_values(text: str, where: str) -> list[Any]:
    """Values with commas between them, typed as in a spec; SpecError where they are none."""
    # In brackets the values are a sequence, read by the rules of a spec.
    root = _compose(f"[{text}]", where)
    if not isinstance(root, yaml.SequenceNode):
        raise SpecError("these are no values", where=where, expected="VALUE,VALUE,...", seen=repr(text))
    return _Builder(where).build(root, (), root.start_mark)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise SpecError("there is no such file", where=str(path), near=_beside(path)) from None
    except OSError as error:
        raise SpecError(f"the file cannot be read: {error.strerror}", where=str(path)) from None
    # Before anything is parsed: places are kept for every value.
    if len(data) > MAX_BYTES:
        raise SpecError(
            "the file is too large for a spec",
            where=str(path),
            expected=f"at most {MAX_BYTES:,} bytes",
            seen=f"{len(data):,} bytes",
        )
    try:
        # Windows editors put a byte order mark in front, which is no part of the text.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        seen = f"byte 0x{data[error.start]:02x}"
        raise SpecError("this is not text", where=f"{path}:{line}", expected="UTF-8", seen=seen) from None


def _deepest(text: str) -> int:
    """About how deep nodes are nested, rather too much than too little: a block within a block begins further
    to the right, and each [ or { that is open is a level."""
    column = max((len(block[0]) for block in BLOCK_STARTS.finditer(text)), default=0)
    most = level = 0
    for bracket in BRACKETS.findall(text):
        level = level + 1 if bracket in "[{" else max(level - 1, 0)
        most = max(most, level)
    return column + most


def _beside(path: Path) -> list[str]:
    """Spec files that a person may have meant by a path that is not there."""
    folder = path.parent if path.parent.is_dir() else path.parent.parent
    found = [p for pattern in ("*.yaml", "*.yml", "*/spec.yaml") for p in folder.glob(pattern)]
    return [str(p) for p in sorted(found)[:3]]


def _compose(text: str, file: str) -> yaml.Node | None:
    """The nodes of a text. What libyaml refuses is read again by PyYAML, whose errors are retold."""
    # Only where both readers agree on what a text is, and it is flat enough for one without a floor.
    if not READ_OTHERWISE.search(text) and _deepest(text) <= MAX_NESTING_READ_QUICKLY:
        # Whatever it finds wrong is told in the words of the other reader, below.
        with suppress(yaml.YAMLError):
            quick = QuickReader(text)
            try:
                return quick.get_single_node()
            finally:
                quick.dispose()
    try:
        reader = Reader(text)
        try:
            return reader.get_single_node()
        finally:
            reader.dispose()
    except yaml.MarkedYAMLError as error:
        raise broken_yaml(error, text, file) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        where = f"{file}:{before.count(chr(10)) + 1}:{error.position - before.rfind(chr(10))}"
        seen = f"character #x{ord(text[error.position]):04x}"
        raise SpecError("a control character", where=where, expected="text", seen=seen) from None


@dataclass
class _Builder:
    """Turns composed nodes into plain data and notes every place, bounded in depth and size."""

    file: str
    values: dict[Loc, Place] = field(default_factory=dict)
    keys: dict[Loc, Place] = field(default_factory=dict)
    built: int = 0

    def build(self, node: yaml.Node, loc: Loc, mark: yaml.Mark) -> Any:
        """The data of a node; `mark` is its own for scalars, its key's for what spans lines."""
        # An alias is built each time that it is met: a few lines can stand for billions of values.
        self.count(node, len(loc))
        self.values[loc] = _place(mark, loc)
        # By tag too: `!!python/...` makes a mapping node of another kind.
        if isinstance(node, yaml.MappingNode) and node.tag == CORE + "map":
            return self.mapping(node, loc)
        if isinstance(node, yaml.SequenceNode) and node.tag == CORE + "seq":
            return [self.build(item, (*loc, i), item.start_mark) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        raise self.tagged(node)

    def count(self, node: yaml.Node, depth: int) -> None:
        self.built += 1
        # Counted while it is built, since an alias within itself would never end.
        if depth > MAX_DEPTH or self.built > MAX_VALUES:
            limit = f"at most {MAX_DEPTH} levels and {MAX_VALUES:,} values"
            raise self.refuse("an alias expands without end", node, limit)

    def mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        data = {}
        for name, (key, value) in self.pairs(node, len(loc)).items():
            spot = (*loc, name)
            self.keys[spot] = _place(key.start_mark, spot)
            # What spans lines begins after its key: an error about it is better shown at the key.
            mark = value.start_mark if isinstance(value, yaml.ScalarNode) else key.start_mark
            data[name] = self.build(value, spot, mark)
        return data

    def pairs(self, node: yaml.Node, depth: int) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Keys and values of a mapping; its own win over what `<<: *anchor` brings in."""
        self.count(node, depth)
        if not isinstance(node, yaml.MappingNode):
            raise self.refuse("<< merges mappings only", node, "an alias of a mapping, or a list of them")
        own = {}
        merged = {}
        for key, value in node.value:
            if key.tag == CORE + "merge":
                for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    # Of several sources the earlier one wins, as YAML's merge key has it.
                    merged = self.pairs(source, depth + 1) | merged
                continue
            name = self.key(key)
            # PyYAML itself would take the second one silently.
            if name in own:
                first = own[name][0].start_mark.line + 1
                raise self.refuse(f"the key {name!r} is given twice", key, "once", f"first on line {first}")
            own[name] = key, value
        return own | {name: pair for name, pair in merged.items() if name not in own}

    def key(self, node: yaml.Node) -> str:
        if isinstance(node, yaml.ScalarNode):
            return _whole_characters(node.value)
        raise self.refuse(
            "a key that is not plain text",
            node,
            "`key: value`",
            hint="put text that begins with { or [ in quotes, as {{ numbers }} do",
        )

    def scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix(CORE)
        try:
            return SCALARS[kind](node.value)
        except KeyError:
            raise self.tagged(node) from None
        except (ValueError, UnicodeError):
            raise self.refuse(f"this cannot be read as {KINDS[kind]}", node, KINDS[kind]) from None

    def tagged(self, node: yaml.Node) -> SpecError:
        return self.refuse(f"the tag {node.tag!r} is not allowed", node, "no tag")

    def refuse(
        self, problem: str, node: yaml.Node, expected: str, seen: str = "", hint: str = ""
    ) -> SpecError:
        mark = node.start_mark
        where = f"{self.file}:{mark.line + 1}:{mark.column + 1}"
        seen = seen or (shown(node.value) if isinstance(node, yaml.ScalarNode) else "")
        return SpecError(problem, where=where, expected=expected, seen=seen, hint=hint)


def _place(mark: yaml.Mark, loc: Loc) -> Place:
    return Place(mark.line + 1, mark.column + 1, dotted(loc))


def _whole_characters(text: str) -> str:
    """Text with JSON's surrogate pairs joined; UnicodeError for half of one."""
    # JSON spells a character beyond U+FFFF as two escapes, which YAML reads as two characters.
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def _number(text: str) -> int | float:
    """A finite number; `1e6`, written without a point, is a whole one."""
    value = float(text)
    # `1e999` is a number by its spelling and infinity by its value.
    if not math.isfinite(value):
        raise ValueError(text)
    return int(value) if "." not in text and value.is_integer() else value


SCALARS = {
    "str": _whole_characters,
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": _number,
    "merge": _whole_characters,
}
KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a finite number",
    "bool": "true or false",
    "null": "nothing",
    "merge": "text",
}


def shown(value: Any) -> str:
    """A value as a person would write it, cut to one line."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return one_line(repr(value))
    # One line however long, which `one_line` then cuts.
    written = yaml.dump(value, Dumper=Writer, default_flow_style=True, width=10_000)
    # PyYAML ends a document that is a single scalar with "...".
    return one_line(written.removesuffix("...\n"))
