"""Numbers of things in words."""

import pytest

from engine.evidence.plural import counted


@pytest.mark.parametrize(
    ("n", "unit", "expected"),
    [
        (1, "prompt", "1 prompt"),
        (0, "prompt", "0 prompts"),
        (1430, "token", "1,430 tokens"),
        (3, "category", "3 categories"),
    ],
)
def test_a_number_of_things_is_told_in_the_plural(n: int, unit: str, expected: str) -> None:
    assert counted(n, unit) == expected
