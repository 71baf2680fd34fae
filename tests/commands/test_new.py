"""`engine new`: skeletons that work as they stand."""

from __future__ import annotations

from typing import Any

from tests.runs.toy import Toy


def test_an_investigation_is_started_and_what_to_type_next_is_said(engine: Any, toy: Toy) -> None:
    answer = engine("new", "my-question", "--title", "Does it know?")
    assert answer.code == 0, answer.err
    assert "wrote investigations/my-question/spec.yaml" in answer.out
    assert answer.out.splitlines()[-1] == "it works as it stands: engine build my-question"
    assert "Does it know?" in (toy.root / "investigations/my-question/spec.yaml").read_text()


def test_a_family_is_started_with_its_test(engine: Any, toy: Toy) -> None:
    (toy.root / "tests/families").mkdir(parents=True)
    answer = engine("new", "my_method", "--family")
    assert answer.code == 0, answer.err
    assert "wrote engine/families/my_method.py" in answer.out
    assert answer.out.splitlines()[-1] == "it works as it stands: engine calibrate my_method"
