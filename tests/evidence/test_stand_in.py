"""What was said of one model is found on another or not found there; the logic is the same."""

import pytest

from engine.evidence.stand_in import is_stand_in, named_for, verdict_names
from engine.evidence.verdicts import Verdict, decided_family_wise


@pytest.mark.parametrize(
    ("plain", "on_a_stand_in"),
    [
        ("supported", "found here"),
        ("contradicted", "not found here"),
        ("undetermined", "undetermined"),
        ("unmeasured", "unmeasured"),
    ],
)
def test_a_verdict_changes_its_word_and_nothing_else(plain, on_a_stand_in):
    verdict = Verdict("c", plain, 0.5, "because")
    other = named_for(verdict, stand_in=True)
    assert other == Verdict("c", on_a_stand_in, 0.5, "because")
    assert named_for(other, stand_in=True) == other
    assert named_for(other, stand_in=False) == verdict


def test_the_model_itself_is_no_stand_in():
    assert is_stand_in("gpt2", "smollm2-135m-instruct")
    assert not is_stand_in("gpt2", "gpt2")
    assert not is_stand_in(None, "gpt2")


def test_no_sentence_may_have_a_statement_contradicted_by_another_model():
    assert verdict_names(True) == ["found here", "not found here", "undetermined", "unmeasured"]
    assert "found here" not in verdict_names(False)


def test_what_is_found_here_is_decided_in_a_family_too():
    family = [Verdict("a", "found here", 0.999, p=0.001), Verdict("b", "undetermined", 0.5, p=1.0)]
    assert decided_family_wise(family) == {"a": True, "b": False}
