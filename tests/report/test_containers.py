"""Inside which containers a line of Markdown stands."""

from __future__ import annotations

import pytest

from engine.report.containers import line_contexts


def columns(text: str) -> list[tuple[int, int, bool]]:
    return [(each.column, each.content, each.is_code) for each in line_contexts(text)]


@pytest.mark.parametrize(
    "opener", ['!!! note "In"', '??? tip "In"', "- item", "1. item", "[^1]: note", '=== "Tab"']
)
def test_what_is_indented_below_an_opener_stands_in_it(opener: str) -> None:
    found = columns(f"{opener}\n\n    inside\n\noutside\n\n    code")
    assert found[0] == (0, 4, False)
    assert found[2] == (4, 4, False)
    assert found[4] == (0, 0, False)
    assert found[6] == (0, 0, True)


def test_containers_stand_in_containers() -> None:
    found = columns("!!! note\n\n    - item\n\n        text\n\n    after\n\n            code")
    assert [found[at][0] for at in (2, 4, 6)] == [4, 8, 4]
    assert found[8] == (4, 4, True)


def test_a_line_that_goes_on_with_a_paragraph_is_no_code_and_leaves_no_container() -> None:
    assert columns("text\n      more") == [(0, 0, False), (0, 0, False)]
    assert columns("- item\ngoes on\n\n    inside")[3] == (4, 4, False)


def test_code_goes_on_over_an_empty_line() -> None:
    assert [each.is_code for each in line_contexts("a\n\n    x\n\n    y\n\nb")] == [
        False, False, True, True, True, True, False,
    ]  # fmt: skip
