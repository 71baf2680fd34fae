"""Which token is too many, and where."""

import pytest

from engine.demo.token_alignment import align


def shown(clean: str, corrupted: str) -> list[tuple[str | None, str | None]]:
    return [(c.clean, c.corrupted) for c in align(clean.split(), corrupted.split()).columns]


def test_prompts_of_one_length_stand_position_against_position():
    found = align(["the", "capital", "of", "France", "is"], ["the", "capital", "of", "Italy", "is"])
    assert [c.differs for c in found.columns] == [False, False, False, True, False]
    assert [c.clean_position for c in found.columns] == [0, 1, 2, 3, 4]
    assert not found.problem


@pytest.mark.parametrize(
    ("clean", "corrupted", "said"),
    [
        ("of France is", "of South Korea is", "in the corrupted prompt Korea at position 2 is too many"),
        ("of South Korea is", "of France is", "in the clean prompt Korea at position 2 is too many"),
        ("a b c", "a b c d e", "in the corrupted prompt d at position 3 and e at position 4 are too many"),
        ("b", "a b", "in the corrupted prompt a at position 0 is too many"),
        ("", "a", "in the corrupted prompt a at position 0 is too many"),
    ],
)
def test_the_token_that_is_too_many_is_named_with_its_place(clean, corrupted, said):
    n_clean, n_corrupted = len(clean.split()), len(corrupted.split())
    problem = align(clean.split(), corrupted.split()).problem
    assert problem == f"clean has {n_clean} tokens, corrupted {n_corrupted}: {said}"


def test_every_token_of_both_stands_in_one_column():
    columns = align(["a", "x", "b", "y", "c", "z", "q"], ["a", "b", "c", "d"]).columns
    assert [c.clean for c in columns if c.clean is not None] == ["a", "x", "b", "y", "c", "z", "q"]
    assert [c.corrupted for c in columns if c.corrupted is not None] == ["a", "b", "c", "d"]
    assert shown("a x b", "a b") == [("a", "a"), ("x", None), ("b", "b")]


def test_equal_prompts_have_nothing_to_patch():
    assert "nothing to patch" in align(["a"], ["a"]).problem
