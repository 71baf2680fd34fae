"""The template grammar: sandboxed Jinja2 in which every unknown name is an error with line and nearest names.

A template is parsed, checked as a whole (also the branches that are not taken), then rendered. What it
may read of the engine's objects goes through their `read`; all else of them is out of reach.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import (
    ChoiceLoader,
    DictLoader,
    FileSystemBytecodeCache,
    StrictUndefined,
    TemplateSyntaxError,
    meta,
    nodes,
)
from jinja2.environment import Environment, Template
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.ext import Extension
from jinja2.parser import Parser

from engine.errors import EngineError, TemplateError, nearest
from engine.report.numbers import ExperimentNumbers, InvestigationNumbers, Number, Readable
from engine.report.sandbox import Sandbox
from engine.report.template_limits import check_tree, line_of_parser
from engine.runs.library import spelled_with_underscores

FILTERS = ("default", "first", "join", "last", "length", "list", "lower", "sort", "unique", "upper")
TESTS = ("defined", "divisibleby", "eq", "even", "ge", "gt", "in", "le", "lt", "ne", "none", "odd", "string")
ALL_FILTERS = (*FILTERS, "percent")
TAGS = ("claim", "for", "if", "set", "macro", "raw", "with")
CITE_CLAIM = "cite_claim"
CITE = "cite"


class ClaimTag(Extension):
    """`{% claim "id" %}sentence{% endclaim %}`, `{% claim "id", "contradicted" %}`, or of another model than
    the primary one, `{% claim "id", "contradicted", "gpt2" %}`."""

    tags = {"claim"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        arguments: list[nodes.Expr] = [parser.parse_expression()]
        while len(arguments) < 3 and parser.stream.skip_if("comma"):
            arguments.append(parser.parse_expression())
        body = parser.parse_statements(("name:endclaim",), drop_needle=True)
        cite = nodes.Name(CITE_CLAIM, "load", lineno=line)
        keywords = [nodes.Keyword("line", nodes.Const(line), lineno=line)]
        call = nodes.Call(cite, arguments, keywords, None, None, lineno=line)
        return nodes.CallBlock(call, [], [], body, lineno=line)


class GrammarParser(Parser):
    """Jinja's parser with the statements of the grammar alone: none that reads another file."""

    def parse_statement(self) -> nodes.Node | list[nodes.Node]:
        """One statement; TemplateSyntaxError for one that the grammar has not."""
        token = self.stream.current
        if token.type == "name" and token.value not in TAGS and not token.value.startswith("end"):
            self.fail(f"Encountered unknown tag {token.value!r}.", token.lineno)
        return super().parse_statement()


class Grammar(Sandbox):
    """The environment; `finalize` prints values, so that data from a run is escaped whatever it holds."""

    def __init__(self, finalize: Callable[[Any], Any] | None = None) -> None:
        super().__init__(
            undefined=StrictUndefined,  # a misspelt name must not print as nothing
            autoescape=True,  # behind `finalize`: what is not markup never becomes it
            extensions=[ClaimTag],
            keep_trailing_newline=True,
        )
        self.finalize = self.printed(finalize) if finalize else None
        # Lists of what is allowed: a filter that comes with a new Jinja stays out until someone has read it.
        self.filters = {name: self.filters[name] for name in FILTERS} | {"percent": percent}
        self.tests = {name: self.tests[name] for name in TESTS}
        self.prepare()

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return GrammarParser(self, source, name, filename).parse()

    def getattr(self, obj: Any, attribute: str) -> Any:
        # Fields and methods of the engine's own classes are not the template's: `read` has a list of its own.
        if isinstance(obj, Readable):
            return obj.read(attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Readable):
            return obj.read(str(argument))
        return super().getitem(obj, argument)


def percent(value: Any) -> Number | str:
    """A share as a percentage: `{{ lens.share_known | percent }}`."""
    if isinstance(value, Number):
        return value.as_percent()
    if isinstance(value, float):
        return f"{100 * value:.3g} %"
    raise TemplateError(
        "percent takes a number", expected="{{ experiment.name | percent }}", seen=type(value).__name__
    )


def parsed(text: str, where: str) -> nodes.Template:
    """The syntax tree. TemplateError with file and line for what is not the grammar."""
    return parsed_by(Grammar(), text, where)


def parsed_by(grammar: Grammar, text: str, where: str) -> nodes.Template:
    """The syntax tree of an environment, by which it can be compiled."""
    try:
        tree = grammar.parse(text, filename=where)
    except TemplateSyntaxError as error:
        raise syntax_error(error, where) from error
    # ValueError: a number of thousands of digits.
    except (RecursionError, ValueError, OverflowError) as error:
        seen = type(error).__name__
        raise TemplateError("this cannot be read", where=line_of_parser(error, where), seen=seen) from None
    for used in check_tree(tree, where):
        if isinstance(used, nodes.Filter) and used.name not in ALL_FILTERS:
            raise _unknown("filter", used.name, ALL_FILTERS, f"{where}:{used.lineno}")
        if isinstance(used, nodes.Test) and used.name not in TESTS:
            raise _unknown("test", used.name, TESTS, f"{where}:{used.lineno}")
    return tree


@lru_cache(maxsize=8)
def placed_tokens(text: str, where: str) -> tuple[tuple[str, str, int], ...]:
    """(kind, text, place) of each token of a template. TemplateError where it is not the grammar.

    Kept for the few texts at hand: each is looked through for dashes, citations and each kind of concern.
    """
    at = 0
    placed = []
    try:
        tokens = list(Grammar().lex(text))
    except TemplateSyntaxError as error:
        raise syntax_error(error, where) from error
    # The lexer tells no positions and drops the white space that `{%-` strips, so that each piece is looked
    # for from where the one before it ended.
    for _, kind, value in tokens:
        start = text.index(value, at)
        at = start + len(value)
        placed.append((kind, value, start))
    return tuple(placed)


def wrong_names(
    tree: nodes.Template,
    context: Mapping[str, Any],
    lookups: Mapping[str, Callable[[str], Any]],
    where: str,
) -> list[EngineError]:
    """Every name that is not there, with its line and the nearest names, in branches that are not taken too.

    `context` is what a template may name. `lookups` maps a function of it, or the name of an experiment, to
    what finds a number, chart, table or claim that is named outright.
    """
    # Found by one walk, in the order of the text.
    naming = list(tree.find_all((nodes.Name, nodes.Call, nodes.Getattr)))
    return _undefined(tree, naming, context, where) + list(_not_found(naming, lookups, where))


def _undefined(
    tree: nodes.Template, naming: Sequence[nodes.Node], context: Mapping[str, Any], where: str
) -> list[EngineError]:
    """Names that the context does not have, from the first line to the last."""
    loaded = [node for node in naming if isinstance(node, nodes.Name) and node.ctx == "load"]
    if all(node.name in context for node in loaded):
        return []
    # Of the rest some are set by the template itself; where, only Jinja's compiler knows.
    missing = meta.find_undeclared_variables(tree) - context.keys()
    used = [node for node in loaded if node.name in missing]
    return [_not_defined(n, context, where) for n in sorted(used, key=lambda n: n.lineno)]


def _not_defined(used: nodes.Name, context: Mapping[str, Any], where: str) -> EngineError:
    dashed = [name for name in context if name.startswith(f"{used.name}-")]
    # A name with a dash is there under two spellings, of which that of the spec is told.
    spelled = {spelled_with_underscores(name) for name in context if "-" in name}
    names = sorted(name for name in context if name not in spelled)
    # There may be hundreds of investigations: of them only the nearest are told.
    told = [name for name in names if not isinstance(context[name], InvestigationNumbers)]
    return TemplateError(
        f"{used.name!r} is not defined",
        where=f"{where}:{used.lineno}",
        expected="an experiment of this spec, or one of " + ", ".join(told),
        seen=used.name,
        near=dashed or nearest(used.name, names),
        hint=f"{{{{ {dashed[0]}.NAME }}}}: between spaces a dash is a minus sign" if dashed else "",
    )


def _not_found(
    naming: Sequence[nodes.Node], lookups: Mapping[str, Callable[[str], Any]], where: str
) -> Iterator[EngineError]:
    # A name that the template sets itself may hold anything by then; rendering says what it lacks.
    assigned = {node.name for node in naming if isinstance(node, nodes.Name) and node.ctx == "store"}
    for line, name, argument in named_outright(naming):
        if name in lookups and name not in assigned:
            try:
                lookups[name](argument)
            except EngineError as error:
                yield _placed(error, f"{where}:{line}")
    yield from _not_in_experiments(naming, lookups, where, assigned)


def _not_in_experiments(
    naming: Sequence[nodes.Node], lookups: Mapping[str, Callable[[str], Any]], where: str, assigned: set[str]
) -> Iterator[EngineError]:
    """The wrong names in third place: `slug.experiment.NUMBER`."""
    for read in naming:
        if not isinstance(read, nodes.Getattr) or not isinstance(read.node, nodes.Getattr):
            continue
        inner = read.node
        if not isinstance(inner.node, nodes.Name):
            continue
        name = inner.node.name
        if name not in lookups or name in assigned:
            continue
        try:
            experiment = lookups[name](inner.attr)
        except EngineError:  # told already, as the name in second place
            continue
        if isinstance(experiment, ExperimentNumbers):
            try:
                experiment.read(read.attr)
            except EngineError as error:
                yield _placed(error, f"{where}:{read.lineno}")


def named_outright(naming: Iterable[nodes.Node]) -> Iterator[tuple[int, str, str]]:
    """(line, name, argument) of each `name("argument")` and each `name.argument` among nodes."""
    for node in naming:
        if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
            yield node.lineno, node.node.name, node.attr
        if not isinstance(node, nodes.Call) or not isinstance(node.node, nodes.Name):
            continue
        # With `model=` it is looked up on another model, and which one may be known only while rendering.
        if any(keyword.key == "model" for keyword in node.kwargs):
            continue
        # Of several works each is named; what follows another name says more of it.
        named = node.args if node.node.name == CITE else node.args[:1]
        for argument in named:
            if isinstance(argument, nodes.Const):
                yield node.lineno, node.node.name, str(argument.value)


def rendered(text: str, where: str, context: Mapping[str, Any], finalize: Callable[[Any], Any]) -> str:
    """The template as text. TemplateError with file and line for whatever goes wrong in it."""
    grammar = Grammar(finalize)
    return rendered_tree(grammar, parsed_by(grammar, text, where), where, context)


def rendered_tree(grammar: Grammar, tree: nodes.Template, where: str, context: Mapping[str, Any]) -> str:
    """What `grammar` has parsed as text; the tree is rewritten for it. Raises TemplateError as `rendered`."""
    try:
        tree = grammar.guarded(tree)
        # Compiled under the template's path, by which `_place` finds its lines in a traceback.
        code = grammar.compile(tree, name=where, filename=where)
        return Template.from_code(grammar, code, grammar.make_globals(None)).render(context)
    except TemplateSyntaxError as error:
        raise syntax_error(error, where) from error
    except EngineError as error:
        raise _placed(error, _place(error, where)) from error
    except SecurityError as error:
        raise TemplateError(
            "a template may not reach for this", where=_place(error, where), seen=str(error)
        ) from error
    # RuntimeError: a macro that calls itself without end is one. SyntaxError: what Jinja makes of a template
    # is Python, which refuses some of it.
    except (
        UndefinedError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
        SyntaxError,
        MemoryError,
    ) as error:
        problem = f"this cannot be rendered: {error}"
        raise TemplateError(problem, where=_place(error, where), seen=type(error).__name__) from error


def keep_compiled(environment: Environment, folder: Path) -> None:
    """Keep an environment's compiled templates in a folder, from where the next one takes them."""
    folder.mkdir(exist_ok=True)
    environment.bytecode_cache = FileSystemBytecodeCache(str(folder))


def add_template(environment: Environment, name: str, text: str) -> None:
    """One more template for an environment, before all that it has."""
    there = [environment.loader] if environment.loader else []
    environment.loader = ChoiceLoader([DictLoader({name: text}), *there])


def _place(error: BaseException, where: str) -> str:
    """File and line, from the traceback that Jinja rewrites to the template's own lines."""
    # The last is the innermost: a mistake inside of a macro is told there, and not where it is called.
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == where]
    return f"{where}:{lines[-1]}" if lines else where


def _placed(error: EngineError, where: str) -> EngineError:
    """The same error, at a line of the template where it does not name a place of its own."""
    return TemplateError(
        error.problem,
        where=error.where or where,
        expected=error.expected,
        seen=error.seen,
        near=error.near,
        hint=error.hint,
        # What is wrong in another file is told there, and here who asked for it.
        named_at=error.named_at or (where if error.where else ""),
    )


def syntax_error(error: TemplateSyntaxError, where: str) -> TemplateError:
    """A TemplateError with the line and, for an unknown filter, test or tag, the nearest names."""
    message = error.message or "this is not template syntax"
    place = f"{where}:{error.lineno}"
    if found := re.match(r"Encountered unknown tag '(.+?)'", message):
        return _unknown("tag", found[1], TAGS, place)
    return TemplateError(message.rstrip("."), where=place, expected="Jinja2 template syntax")


def _unknown(kind: str, name: str, known: tuple[str, ...], place: str) -> TemplateError:
    expected = "one of " + ", ".join(known)
    return TemplateError(
        f"no {kind} {name!r}", where=place, expected=expected, seen=name, near=nearest(name, known)
    )
