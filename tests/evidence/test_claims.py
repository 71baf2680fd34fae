import random
import re

import numpy as np
import pytest

from engine.errors import ClaimError
from engine.evidence.claim_tree import evaluate
from engine.evidence.claims import parse

NUMBERS = {"a.x": 2.5, "b-0.y": -1.5, "c[seed=0,k=8].z": 0.25, "d.w": 4.0}


def holds(text: str) -> bool:
    return bool(evaluate(parse(text).root, NUMBERS))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.x > 2", True),
        ("0 < a.x < 3", True),
        ("0 < a.x < 2", False),
        ("a.x-d.w < 0", True),  # a hyphen after the dot is a minus sign
        ("b-0.y == -1.5", True),  # one before it belongs to the name
        ("1-a.x == -1.5", True),
        ("c[seed=0, k=8].z * 1_000 == 2.5e2", True),
        ("not a.x > 2 or d.w >= 4", True),
        ("not (a.x > 2 or d.w >= 4)", False),
        ("abs(b-0.y) == max(1, 1.5, min(b-0.y, 9))", True),
        ("2 + 3 * 4 - 6 / 2 == 11", True),
        ("8 / 4 / 2 == 1 and 8 - 4 - 2 == 2", True),
        ("--a.x == a.x and -a.x * 2 == -5", True),
        ("1e-3 < .5 != 0.25", True),
    ],
)
def test_a_predicate_means_what_it_says(text: str, expected: bool) -> None:
    assert holds(text) is expected


def test_a_predicate_names_its_numbers_once_in_order() -> None:
    assert parse("d.w > a.x and c[ k = 8 ].z < d.w").names == ("d.w", "a.x", "c[k=8].z")


NAMES = {"a.x": "a_x", "b-0.y": "b_y", "c[seed=0,k=8].z": "c_z", "d.w": "d_w"}


def random_number(rng: random.Random, depth: int) -> str:
    kind = rng.choice(
        ["name", "literal", "sum", "call", "minus", "brackets"] if depth else ["name", "literal"]
    )
    deeper = lambda: random_number(rng, depth - 1)  # noqa: E731
    if kind == "name":
        return rng.choice(list(NAMES))
    if kind == "literal":
        return rng.choice(["0", "1", "2.5", "1e-3", "1_000", "0.25"])
    if kind == "sum":
        operator = rng.choice(["+", "-", "*", "/"])
        return f"{deeper()} {operator} {rng.choice(list(NAMES)) if operator == '/' else deeper()}"
    if kind == "call":
        return rng.choice(
            [f"abs({deeper()})", f"min({deeper()}, {deeper()})", f"max({deeper()}, {deeper()}, 1)"]
        )
    return f"-{deeper()}" if kind == "minus" else f"({deeper()})"


def random_truth(rng: random.Random, depth: int) -> str:
    if not depth or rng.random() < 0.3:
        signs = [rng.choice(["<", "<=", ">", ">=", "==", "!="]) for _ in range(rng.choice([1, 1, 2]))]
        return random_number(rng, depth) + "".join(f" {sign} {random_number(rng, depth)}" for sign in signs)
    kind, one, other = (
        rng.choice(["and", "or", "not", "()"]),
        *(random_truth(rng, depth - 1) for _ in range(2)),
    )
    if kind == "not":
        return f"not {one}"
    return f"({one})" if kind == "()" else f"{one} {kind} {other}"


def test_two_thousand_random_predicates_mean_what_they_mean_in_python() -> None:
    rng, seen = random.Random(0), set()
    for _ in range(2000):
        text = random_truth(rng, rng.randint(0, 4))
        as_python = re.sub("|".join(map(re.escape, NAMES)), lambda name: NAMES[name[0]], text)
        values = {NAMES[name]: value for name, value in NUMBERS.items()}
        try:
            found = holds(text)
        except ClaimError as error:
            assert re.search("too long|too deep|product with a measured number", str(error)), text
            continue
        assert found is eval(as_python, {"abs": abs, "min": min, "max": max}, values), text
        # What is judged says the same as what is written.
        assert bool(evaluate(parse(text).decided, NUMBERS)) is found, text
        seen.add(found)
    assert seen == {True, False}


def test_replicates_are_evaluated_one_by_one() -> None:
    rng, predicate = np.random.default_rng(0), parse("0 < a.x - abs(d.w) or not a.x / d.w < 2")
    numbers = {"a.x": rng.normal(size=500), "d.w": rng.normal(size=500)}
    each = [
        bool(evaluate(predicate.root, {"a.x": x, "d.w": w})) for x, w in zip(*numbers.values(), strict=True)
    ]
    assert evaluate(predicate.root, numbers).tolist() == each


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 1, "something is missing"),
        ("a.x >", 6, "something is missing"),
        ("a.x + 1", 1, "a claim is true or false"),
        ("a.x > 1 2", 9, "nothing can follow"),
        ("a.x = 1", 5, "try: == compares"),
        ("a.x > 1 && d.w > 1", 9, "try: and"),
        ("a.x ** 2 > 1", 6, "something is missing"),
        ("(a.x > 1", 9, "not closed"),
        ("a.x > 1)", 8, "nothing can follow"),
        ("(a.x > 1) + 1 > 0", 1, "this is true or false where a number is needed"),
        ("a.x and d.w > 1", 1, "this is a number where true or false is needed"),
        ("not a.x", 5, "a number where true or false"),
        ("abs > 1", 5, "abs is a function"),
        ("abs(1, 2) > 1", 1, "abs takes one number"),
        ("abz(a.x) > 1", 1, "nearest: abs"),
        ("a > 1", 1, "'a' is no number"),
        ("a.x > 1__0", 7, "'1__0' is no number"),
        ("a.x > 1e999", 7, "'1e999' is no number"),
        ("a.x / 0 > 1", 7, "divides by zero"),
        ("__import__('os').system('ls') > 0", 1, "is no number"),
        ("a.x > 1; a.x > 2", 8, "means nothing here"),
        ("\u0430.x > 1", 1, "means nothing here"),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text: str, column: int, says: str) -> None:
    with pytest.raises(ClaimError, match=re.escape(says)) as caught:
        parse(text, "spec.yaml:12: claims.late.holds")
    assert caught.value.where == f"spec.yaml:12: claims.late.holds, column {column}"
    shown, caret = str(caught.value).split("  seen: ")[1].splitlines()[:2]
    assert shown == text
    assert caret.index("^") - len("  seen: ") == column - 1


@pytest.mark.parametrize(
    "text",
    [
        "(" * 9999,
        "not " * 9999 + "a.x > 1",
        "-" * 9999 + "1 > 0",
        "abs(" * 9999,
        "1 + " * 9999 + "1 > 0",
        "1<" * 9999,
    ],
)
def test_hostile_claims_are_refused_not_followed(text: str) -> None:
    with pytest.raises(ClaimError, match=r"too deeply|too long"):
        parse(text)


def test_a_long_claim_is_read() -> None:
    assert holds(" + ".join(["1"] * 150) + " == 150")
    assert holds("(" * 28 + "a.x" + ")" * 28 + " > 1")


def test_a_zero_denominator_is_an_error_that_names_it() -> None:
    predicate = parse("a.x / (d.w - 4) > 1")
    with pytest.raises(ClaimError, match=re.escape("a.x / (d.w - 4) divides by zero")):
        evaluate(predicate.root, NUMBERS)
    with pytest.raises(ClaimError, match="in 1 of 3 replicates"):
        evaluate(predicate.root, {"a.x": np.ones(3), "d.w": np.array([3.0, 4.0, 5.0])})


def test_a_name_without_a_value_is_an_error() -> None:
    with pytest.raises(ClaimError, match=r"e\.x has no value"):
        evaluate(parse("e.x > 1").root, NUMBERS)
