"""What strangers write into templates: each ends within a moment, in one error with its line."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from markupsafe import Markup

from engine.errors import TemplateError
from engine.report.escape import for_site
from engine.report.grammar import rendered
from engine.report.sandbox import Budget

DOUBLED = "".join(f"{{% set a{i + 1} = a{i} ~ a{i} %}}" for i in range(60))
NESTED = "".join(f"{{% set a{i + 1} = [a{i}, a{i}] %}}" for i in range(60))
CAPTURED = "".join(f"{{% set a{i + 1} %}}{{{{ a{i} }}}}{{{{ a{i} }}}}{{% endset %}}" for i in range(60))
LOOPS = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}"
ENDS = "{% endfor %}{% endfor %}{% endfor %}"
WIDE = "{% set s = '" + "x" * 9999 + "' %}"

ENDLESS = {
    "a wide field": ("{{ '%999999999d' % 1 }}", "a field that is too large"),
    "a wide field by its argument": ("{{ '%*d' % (999999999, 1) }}", "no format"),
    "a precise field": ("{{ '%.999999999f' % 1.5 }}", "a field that is too large"),
    "a long list": ("{{ ([0] * 10 ** 10) | length }}", "a list that is too large"),
    "a long text": ("{{ 'x' * 10 ** 10 }}", "a text that is too large"),
    "a power": ("{{ 9 ** 9 ** 9 ** 9 }}", "a whole number that is too large"),
    "a product of large numbers": (
        "{{ (2 ** 1000) * (2 ** 1000) * (2 ** 1000) }}",
        "a whole number that is too large",
    ),
    "a long range": ("{{ range(10 ** 12) | list | length }}", "a list that is too large"),
    "a range beyond all numbers": ("{% for i in range(2 ** 100) %}{% endfor %}", "a list that is too large"),
    "nested ranges": (f"{LOOPS}{ENDS}", "too many steps"),
    "nested ranges that print": (f"{LOOPS}x{ENDS}", "too many steps"),
    "nested ranges with a filter": (
        "{% for a in range(9999) %}{% for b in range(9999) if false %}" + ENDS[:24],
        "too many steps",
    ),
    "a text that grows by itself": ("{% set a0 = 'xxxxxxxxxx' %}" + DOUBLED, "a text that is too large"),
    "lists that hold themselves": ("{% set a0 = [1] %}" + NESTED + "{{ a60 == a59 }}", "lists within lists"),
    "text that is captured twice": ("{% set a0 = 'xxxxxxxxxx' %}" + CAPTURED, "prints too much"),
    "a macro that calls itself": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
    "a macro that calls itself twice": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "too many steps",
    ),
    "center": ("{{ 'x'.center(10 ** 10) }}", "attribute 'center'"),
    "ljust": ("{{ 'x'.ljust(10 ** 10) }}", "attribute 'ljust'"),
    "zfill": ("{{ 'x'.zfill(10 ** 10) }}", "attribute 'zfill'"),
    "expandtabs": ("{{ '\\t'.expandtabs(10 ** 10) }}", "attribute 'expandtab"),
    "format": ("{{ '{:>9999999999}'.format(1) }}", "attribute 'format'"),
    "format_map": ("{{ '{a:>9999999999}'.format_map('a') }}", "attribute 'format_map'"),
    "translate": ("{{ 'x'.translate('y' * 9999) }}", "attribute 'translate'"),
    "replace": (WIDE + "{{ s.replace('x', s) }}", "a text that is too large"),
    "replace of nothing": (WIDE + "{{ s.replace('', s) }}", "a text that is too large"),
    "join": (WIDE + "{{ s.join(s) }}", "a text that is too large"),
    "the filter join": (WIDE + "{{ range(9999) | join(s) }}", "a text that is too large"),
    "join of many": (WIDE + "{{ ([s] * 9999) | join }}", "a text that is too large"),
    "a loop that calls itself": (
        "{% for a in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
        "a loop without `recursive`",
    ),
    "a list that is extended": (
        "{% set a = [] %}{% for i in range(9) %}{{ a.append(a) }}{% endfor %}",
        "attribute 'append'",
    ),
}
REFUSED = {
    "arguments of one name": ("{% macro m(a, a) %}{% endmacro %}", "two arguments are called 'a'"),
    "keywords of one name": ("{{ number('a.b', model='x', model='y') }}", "called 'model'"),
    "parentheses": ("{{ " + "(" * 190 + "1" + ")" * 190 + " }}", "RecursionError"),
    "brackets": ("{{ " + "[" * 5000 + "]" * 5000 + " }}", "RecursionError"),
    "a literal of thousands of digits": ("{{ " + "9" * 5000 + " }}", "cannot be read"),
    "nots": ("{{ " + "not " * 3000 + "1 }}", "RecursionError"),
    "signs": ("{{ " + "-" * 3000 + "1 }}", "RecursionError"),
    "a sum": ("{{ " + "1 + " * 3000 + "1 }}", "nested too deeply"),
    "attributes": ("{{ x" + ".a" * 3000 + " }}", "nested too deeply"),
    "filters": ("{{ 'x'" + " | upper" * 3000 + " }}", "nested too deeply"),
    "conditions": ("{{ " + "1 if 1 else " * 3000 + "1 }}", "RecursionError"),
    "blocks": ("{% if 1 %}" * 500 + "{% endif %}" * 500, "RecursionError"),
    "loops in loops": ("{% for a in [1] %}" * 21 + "{% endfor %}" * 21, "too many loops"),
    "a file": ("{% include '/etc/passwd' %}", "no tag 'include'"),
    "a file by import": ("{% from '/etc/passwd' import a %}", "no tag 'from'"),
    "a parent": ("{% extends 'base.html' %}", "no tag 'extends'"),
    "markup as it is": ("{% autoescape false %}<b>{% endautoescape %}", "no tag 'autoescape'"),
    "a class": ("{{ ''.__class__.__mro__ }}", "may not reach"),
    "a class by its item": ("{{ ''['__class__'] }}", "may not reach"),
    "a method's function": ("{{ ''.join.__self__ }}", "may not reach"),
    "a loop's context": ("{% for a in [1] %}{{ loop._iterable }}{% endfor %}", "may not reach"),
    "sorting by a class": ("{{ ['a', 'b'] | sort(attribute='__class__') }}", "attribute '__class__"),
    "a function as text": ("{{ number }}", "no value"),
    "a function within text": ("{{ '' ~ number }}", "no value"),
    "a function in a list": ("{{ [number] | join }}", "no value"),
    "a function by %s": ("{{ '%s' % number }}", "no value"),
    "a function in capitals": ("{{ number | upper }}", "no value"),
    "a function as an argument": ("{{ number(number) }}", "no value"),
}


def number(name: str, model: str = "") -> Markup:
    """Stands for a function of the engine."""
    return Markup(f"<i>{name}</i>")


def printed(text: str, **names: Any) -> str:
    return rendered(
        text, "report.md", {"number": number, **names}, lambda v: v if hasattr(v, "__html__") else for_site(v)
    )


@pytest.mark.parametrize("case", ENDLESS)
def test_what_would_never_end_is_an_error_with_its_line(case: str) -> None:
    text, said = ENDLESS[case]
    began = time.thread_time()
    with pytest.raises(TemplateError) as caught:
        printed(f"One line.\n{text}\n")
    assert said in str(caught.value)
    assert caught.value.where == "report.md:2"
    assert len(str(caught.value)) < 1000
    assert time.thread_time() - began < 20


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_template_may_not_do_is_an_error_with_its_line(case: str) -> None:
    text, said = REFUSED[case]
    with pytest.raises(TemplateError) as caught:
        printed(f"One line.\n{text}\n")
    assert said in str(caught.value)
    assert caught.value.where.startswith("report.md")
    assert "object at" not in str(caught.value) and "root:" not in str(caught.value)


def test_the_same_holds_in_a_thread() -> None:
    found: list[BaseException] = []

    def work() -> None:
        try:
            printed(f"{LOOPS}{ENDS}")
        except TemplateError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert [str(error).partition(":")[0] for error in found] == ["report.md"]


def test_what_templates_do_goes_on_as_before() -> None:
    assert printed("{{ 'a' ~ 1 ~ 'b' }}{{ 1 + 2 }}{{ 2 ** 3 }}{{ 'ab' * 2 }}") == "a1b38abab"
    assert printed("{% for a, b in [('x', 1), ('y', 2)] %}{{ loop.index }}{{ a }}{{ b }};{% endfor %}") == (
        "1x1;2y2;"
    )
    assert printed("{{ '%.2f of %s' % (0.5, 'a') }}") == "0.50 of a"
    assert printed("{{ ['b', 'a'] | sort | join(', ') }}{{ 'x,y'.split(',') | last }}") == "a, by"
    assert printed("{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, b=3) }}") == "1213"
    assert printed("{% set a %}<b>{{ x }}</b>{% endset %}{{ a }}", x="<i>") == "<b>&#x3C;i&#x3E;</b>"
    assert printed("{{ number('a') ~ '<' }}") == "<i>a</i>&lt;"
    assert printed("{{ 'Aa'.lower() }}{{ 'aa'.replace('a', 'b') }}{{ ['a', 'b'].index('b') }}") == "aabb1"
    assert printed("{% for a in [1, 2, 3] if a > 1 %}{{ a }}{% else %}none{% endfor %}") == "23"
    assert printed("{{ range(3) | list | length }}{{ [3, 1] | unique | join }}{{ 'ab' | first }}") == "331a"


def test_functions_and_methods_are_called_in_a_loop_as_outside_of_it() -> None:
    loop = "{% for a in ['x', 'y'] %}{% set b = a %}CALL{% endfor %}"
    calls = {
        "{{ number(b) }}": "<i>x</i><i>y</i>",
        "{{ number(name=a, model='m') }}": "<i>x</i><i>y</i>",
        "{{ a.upper() }}": "XY",
        "{{ [a].index(b) }}": "00",
        "{{ range(2) | length }}": "22",
    }
    for call, expected in calls.items():
        assert printed(loop.replace("CALL", call)) == expected
    with pytest.raises(TemplateError, match="no value"):
        printed(loop.replace("CALL", "{{ number(number) }}"))


def test_a_budget_is_spent_and_the_engines_own_time_is_not_of_it() -> None:
    budget = Budget(operations=3, characters=10, seconds=5)
    budget.spend(3, 10)
    with pytest.raises(TemplateError, match="too many steps"):
        budget.spend(1)
    with pytest.raises(TemplateError, match="prints too much"):
        Budget(characters=10).spend(1, 11)
    late = Budget(seconds=0.01)
    with late.engine_at_work():
        _busy(0.05)
    late.spend(1)
    _busy(0.05)
    with pytest.raises(TemplateError, match="processor time"):
        late.spend(1)


def _busy(seconds: float) -> None:
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass
