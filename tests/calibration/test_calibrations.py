"""Every family finds what was planted, and does not find what was not."""

import pytest

from engine import families


@pytest.mark.parametrize("name", families.names())
def test_known_answers_are_found(name):
    cases = families.get(name).calibrate()
    assert cases
    assert [f"{c.name}: {c.seen}, expected {c.expected}" for c in cases if not c.passed] == []
