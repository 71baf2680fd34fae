"""What a template may do, and how much: it is written by strangers, and is rendered wherever a site is built.

Of values a template has texts, numbers, lists of them and what the engine hands out. Of methods it has those
below, which give back no more than they were given; whatever can multiply (`*`, `~`, `%`, `replace`, `join`)
asks first how large the result will be. Of statements it has those of the grammar.

How long it takes is counted: each turn of a loop, each call and each character that is printed is spent from
a `Budget`, and so is the processor time of its thread, without that of the engine's own functions. No signal
and no second thread take part, so that the same holds in a worker, a thread and a notebook.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jinja2 import nodes, pass_context, pass_environment
from jinja2.filters import FILTERS
from jinja2.runtime import LoopContext, Macro, Undefined
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from engine.errors import TemplateError
from engine.report.numbers import Readable
from engine.report.template_limits import MOST_CHARACTERS

MOST_ITEMS = 10_000
"""Of a list or range."""
MOST_BITS = 1024
"""Of a whole number."""
MOST_WIDTH = 40
"""Of a field in `'%5.2f' % x`."""

TEXT_METHODS = frozenset(
    (
        *("capitalize", "lower", "title", "upper", "lstrip", "rstrip", "strip"),
        *("removeprefix", "removesuffix", "join", "replace", "partition", "rpartition", "split", "rsplit"),
        *("splitlines", "count", "endswith", "find", "index", "rfind", "startswith"),
        *("isalpha", "isdigit", "islower", "isupper"),
    )
)
LIST_METHODS = frozenset(("count", "index"))
DICT_METHODS = frozenset(("get", "items", "keys", "values"))
LOOP_FIELDS = frozenset(
    (
        *("changed", "cycle", "depth", "depth0", "first", "index", "index0", "last", "length", "nextitem"),
        *("previtem", "revindex", "revindex0"),
    )
)
OF_JINJA = frozenset(("_loop_vars", "_block_vars"))
"""What Jinja adds to each call in a loop or block, and takes out again before it calls."""
FIELD = re.compile(r"%(?:%|(?:\((\w*)\))?([-+ #0]*)(\d*)(?:\.(\d*))?([a-zA-Z]))")

CHARACTERS_OF_A_NUMBER = 2_000
"""About what a number takes on a page with its evidence."""

# Filters with a space in their name, which no template can write: they stand where the syntax tree has what
# Jinja would do by itself, unasked.
SPEND = "engine spend"
JOINED = "engine joined"
LISTED = "engine listed"


class Budget:
    """What is left of operations, printed characters and processor time for one rendering."""

    def __init__(
        self, operations: int = 200_000, characters: int = 20_000_000, seconds: float = 10.0
    ) -> None:
        self.operations = operations
        self.characters = characters
        self.seconds = seconds
        self.ends = time.thread_time() + seconds

    def spend(self, operations: int, characters: int = 0) -> None:
        """Take what is about to be done from what is left; TemplateError where that is not enough."""
        self.operations -= operations
        self.characters -= characters
        if self.operations < 0:
            raise _too_much("takes too many steps", "fewer turns of loops and calls")
        if self.characters < 0:
            raise _too_much("prints too much", "a page that can be read")
        if time.thread_time() > self.ends:
            raise _too_much(f"takes longer than {self.seconds:g} s of processor time", "less work")

    @contextmanager
    def engine_at_work(self) -> Iterator[None]:
        """Time that the engine's own functions take is not the template's."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.ends += time.thread_time() - began


def _too_much(what: str, expected: str) -> TemplateError:
    return TemplateError(f"this template {what}", expected=expected)


class Sandbox(SandboxedEnvironment):
    """A Jinja environment in which values are plain, methods are listed and what is done is counted."""

    # What of these makes something large is asked first; `-`, `/` and `//` do not.
    intercepted_binops = frozenset(("*", "**", "+", "%"))

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.budget = Budget()

    def prepare(self) -> None:
        """Put in the place of filters and globals what asks for sizes; once those are chosen."""
        for name in ("upper", "lower"):
            self.filters[name] = _of_text(FILTERS[name])
        self.filters["list"] = _as_list(list)
        for name in ("sort", "unique"):
            self.filters[name] = _as_list(FILTERS[name], of_environment=True)
        self.filters["join"] = joined_by

        @pass_context  # which keeps Jinja from doing it once, while it compiles
        def spend(context: Any, characters: int) -> str:
            self.budget.spend(1, characters)
            return ""

        self.filters[SPEND] = spend
        self.filters[JOINED] = concatenated
        self.filters[LISTED] = checked_list
        self.globals = {"range": bounded_range}

    def guarded(self, tree: nodes.Template) -> nodes.Template:
        """The syntax tree, of which each turn and each list that it makes is counted."""
        return Guard(self).visit(tree)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may have this attribute: of few types, and of each few."""
        known = {str: TEXT_METHODS, list: LIST_METHODS, tuple: LIST_METHODS, dict: DICT_METHODS}
        if isinstance(obj, LoopContext):
            return attr in LOOP_FIELDS
        return any(isinstance(obj, kind) and attr in methods for kind, methods in known.items())

    def wrap_str_format(self, value: Any) -> None:
        """`format` and `format_map` are methods like others, and in no list.

        Jinja would hand out versions of its own, unasked, which fill a width of any size.
        """

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A call from a template: of a macro, of a method in the lists above, or of an engine's function."""
        self.budget.spend(1)
        if isinstance(obj, Macro):
            return super().call(context, obj, *args, **kwargs)
        owner = getattr(obj, "__self__", None)
        given = {name: value for name, value in kwargs.items() if name not in OF_JINJA}
        if isinstance(owner, str):
            return _text_method(owner, obj.__name__, args, given)
        if isinstance(owner, list | tuple | dict | LoopContext) or obj is bounded_range:
            return super().call(context, obj, *args, **kwargs)
        for argument in (*args, *given.values()):
            plain(argument, "an argument")
        self.budget.spend(20)
        # A function that calls back into the template runs on the template's time.
        if any(isinstance(argument, Macro) for argument in given.values()):
            return super().call(context, obj, *args, **kwargs)
        with self.budget.engine_at_work():
            return super().call(context, obj, *args, **kwargs)

    def printed(self, finalize: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """`finalize`, for values that may be printed, with what it prints taken from the budget."""

        def print_value(value: Any) -> Any:
            if not hasattr(value, "__html__"):
                as_text(value)
            text = finalize(value)
            self.budget.spend(1, len(text) if isinstance(text, str) else CHARACTERS_OF_A_NUMBER)
            return text

        return print_value

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """`*`, `**`, `+` and `%`, once their result is known to be of bounded size."""
        self.budget.spend(1)
        if operator == "%" and isinstance(left, str):
            return formatted(left, right)
        if operator == "*":
            _check_repeated(left, right)
        if operator == "**":
            _check_power(left, right)
        if operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            _check_size(len(left) + len(right), left)
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and result.bit_length() > MOST_BITS:
            raise _too_large("a whole number", f"{MOST_BITS} bits")
        return result


class Guard:
    """Rewrites a syntax tree so that the sandbox is asked where Jinja would not ask it."""

    def __init__(self, environment: Sandbox) -> None:
        self.environment = environment

    def visit(self, node: Any) -> Any:
        """The node with all below it guarded."""
        for field, value in node.iter_fields():
            if isinstance(value, list):
                setattr(node, field, [self._one(each) for each in value])
            elif isinstance(value, nodes.Node):
                setattr(node, field, self._one(value))
        if isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock):
            node.body.insert(0, self._spending(node))
        if isinstance(node, nodes.For) and node.test is not None:
            # What is spent is an empty text, so that the condition is asked next.
            spent = self._filter(nodes.Const(0, lineno=node.lineno), SPEND)
            node.test = nodes.Or(spent, node.test, lineno=node.lineno)
            node.test.set_environment(self.environment)
        return node

    def _one(self, node: Any) -> Any:
        if not isinstance(node, nodes.Node):
            return node
        self.visit(node)
        if isinstance(node, nodes.Concat):
            return self._filter(nodes.List(node.nodes, lineno=node.lineno), JOINED)
        made = isinstance(node, nodes.List | nodes.Dict)
        if made or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
            return self._filter(node, LISTED)
        return node

    def _spending(self, node: Any) -> nodes.ExprStmt:
        """What a turn of a loop, or a call of a macro, takes: one step, and the text in its body."""
        texts = (data for part in node.body for data in part.find_all(nodes.TemplateData))
        size = sum(len(text.data) for text in texts)
        spent = self._filter(nodes.Const(size, lineno=node.lineno), SPEND)
        statement = nodes.ExprStmt(spent, lineno=node.lineno)
        statement.set_environment(self.environment)
        return statement

    def _filter(self, node: nodes.Expr, name: str) -> nodes.Filter:
        made = nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
        made.set_environment(self.environment)
        return made


def plain(value: Any, what: str = "this") -> Any:
    """The value, where it may be turned into text: a text, a number, or a list of these; else TemplateError.

    The text of anything else would tell of the engine's insides, and of the machine that they lie on.
    """
    if isinstance(value, list | tuple):
        for each in value:
            plain(each, what)
    elif not (value is None or isinstance(value, str | int | float | Readable | Undefined | Macro)):
        told = type(value).__name__
        raise TemplateError(f"{what} is no value", expected="a text, a number or a list of them", seen=told)
    return value


def as_text(value: Any) -> str:
    """A plain value as text; Undefined raises what it has to say."""
    if isinstance(value, list | tuple | Macro):
        seen = type(value).__name__
        raise TemplateError("this is no text", expected='its items, as {{ list | join(", ") }}', seen=seen)
    text = str(plain(value))
    _check_size(len(text), text)
    return text


def concatenated(parts: list[Any]) -> str:
    """`a ~ b`, where the whole is of bounded size."""
    # As Jinja has it: markup stays markup, and what is not is escaped beside it.
    is_markup = any(hasattr(part, "__html__") for part in parts)
    texts = [Markup.escape(part) if hasattr(part, "__html__") else as_text(part) for part in parts]
    texts = [Markup.escape(text) for text in texts] if is_markup else texts
    _check_size(sum(map(len, texts)), "")
    return Markup("").join(texts) if is_markup else "".join(texts)


def checked_list(value: Any) -> Any:
    """A list, tuple or dictionary that a template made: not too long, and no more than one within another."""
    items = [*value, *value.values()] if isinstance(value, dict) else value
    _check_size(len(items), value)
    for item in items:
        # A list that holds lists that hold lists grows without a step: [a, a], then [b, b], ...
        if isinstance(item, list | tuple | dict):
            inner = item.values() if isinstance(item, dict) else item
            if any(isinstance(each, list | tuple | dict) for each in inner):
                raise TemplateError("lists within lists within lists", expected="at most two levels")
    return value


def bounded_range(*arguments: int) -> range:
    """`range` of at most MOST_ITEMS."""
    found = range(*arguments)
    try:
        length = len(found)
    except OverflowError:
        length = MOST_ITEMS + 1
    _check_size(length, [])
    return found


def joined_by(value: Any, d: str = "") -> str:
    """The filter `join` over plain values, where the whole is of bounded size."""
    parts: list[Any] = []
    for item in _as_list(list)(value):
        parts += [d, item] if parts else [item]
    return concatenated(parts)


def _of_text(filter_of_jinja: Callable) -> Callable:
    def wrapped(value: Any) -> Any:
        return filter_of_jinja(value if isinstance(value, Markup) else as_text(value))

    return wrapped


def _as_list(filter_of_jinja: Callable, of_environment: bool = False) -> Callable:
    """A filter over a list, where it is one and not too long."""

    def check(value: Any) -> None:
        # Undefined has words of its own for being asked.
        if not isinstance(value, str | list | tuple | range | dict | Undefined):
            raise TemplateError("this is no list", expected="a list", seen=type(value).__name__)
        _check_size(len(value), value if isinstance(value, str) else [])

    if not of_environment:

        def plainly(value: Any, *arguments: Any) -> Any:
            check(value)
            return filter_of_jinja(value, *arguments)

        return plainly

    @pass_environment
    def by_environment(environment: Any, value: Any, *arguments: Any, **options: Any) -> Any:
        check(value)
        found = filter_of_jinja(environment, value, *arguments, **options)
        return found if isinstance(found, list) else list(found)

    return by_environment


def _text_method(text: str, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """A method of a text, by its name, once its result is known to be of bounded size."""
    if name not in TEXT_METHODS:  # a template got hold of it in another way than by its name
        raise TemplateError("a template may not reach for this", seen=f"{type(text).__name__}.{name}")
    if name == "replace" and len(args) > 1:
        old, new = as_text(args[0]), as_text(args[1])
        places = text.count(old) if old else len(text) + 1
        _check_size(len(text) + places * max(len(new) - len(old), 0), text)
    if name == "join" and args:
        args = ([as_text(each) for each in args[0]],)
        _check_size(sum(map(len, args[0])) + len(args[0]) * len(text), text)
    return getattr(text, name)(*args, **kwargs)


def formatted(text: str, values: Any) -> Any:
    """`'%.2f' % x`, where no field is wide."""
    for field in FIELD.findall(text):
        _, _, width, precision, _ = field
        if max(_whole(width), _whole(precision)) > MOST_WIDTH:
            raise _too_large("a field", f"{MOST_WIDTH} characters")
    if "%" in FIELD.sub("", text):
        raise TemplateError(
            "this is no format",
            expected="fields as %s, %d and %.2f, and %% for a percent sign",
            seen=text[:80],
        )
    given = [*values.values()] if isinstance(values, dict) else values
    texts = [as_text(value) for value in (given if isinstance(given, list | tuple) else [given])]
    _check_size(len(text) + sum(map(len, texts)) + MOST_WIDTH * len(FIELD.findall(text)), text)
    return text % values


def _whole(digits: str) -> int:
    return int(digits[:6]) if digits else 0


def _check_repeated(left: Any, right: Any) -> None:
    """TemplateError where `left * right` is too long or too large."""
    for repeated, times in ((left, right), (right, left)):
        if isinstance(repeated, str | list | tuple) and isinstance(times, int):
            _check_size(len(repeated) * max(times, 0), repeated)
    if (
        isinstance(left, int)
        and isinstance(right, int)
        and left.bit_length() + right.bit_length() > MOST_BITS
    ):
        raise _too_large("a whole number", f"{MOST_BITS} bits")


def _check_power(left: Any, right: Any) -> None:
    """TemplateError where `left ** right` is too large a whole number."""
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > MOST_BITS:
        raise _too_large("a whole number", f"{MOST_BITS} bits")


def _check_size(size: int, kind: Any) -> None:
    most = MOST_CHARACTERS if isinstance(kind, str) else MOST_ITEMS
    if size > most:
        raise _too_large("a text" if isinstance(kind, str) else "a list", f"{most:,}")


def _too_large(what: str, most: str) -> TemplateError:
    return TemplateError(f"this makes {what} that is too large", expected=f"at most {most}")
