import pytest

from engine.errors import ClaimError
from engine.evidence.claim_tree import Node
from engine.evidence.claims import parse


def said(node: Node) -> str:
    """A comparison as its tree says it, whatever its text."""
    if node.kind in ("number", "name"):
        return node.text
    inner = [said(part) for part in node.parts]
    if node.kind == "negative":
        return f"-{inner[0]}"
    if node.kind == "call":
        return f"{node.signs[0]}({', '.join(inner)})"
    joint = f" {node.kind} " if node.kind in ("and", "or") else f" {node.signs[0]} "
    return f"({joint.join(inner)})"


@pytest.mark.parametrize(
    ("text", "judged"),
    [
        ("a.x < 1", "(a.x < 1)"),
        ("0 < a.x <= 1", "((0 < a.x) and (a.x <= 1))"),
        ("not 0 < a.x <= 1", "((0 >= a.x) or (a.x > 1))"),
        ("not (a.x < 1 and (a.y > 2 or not a.z > 3))", "((a.x >= 1) or ((a.y <= 2) and (a.z > 3)))"),
        ("a.x < 1 and (a.y < 1 and a.z < 1)", "((a.x < 1) and (a.y < 1) and (a.z < 1))"),
        ("abs(a.x - a.y) <= 0.1", "(((a.x - a.y) <= 0.1) and (-(a.x - a.y) <= 0.1))"),
        ("abs(a.x) > 1", "((a.x > 1) or (-a.x > 1))"),
        ("1 > abs(a.x)", "((1 > a.x) and (1 > -a.x))"),
        ("max(a.x, a.y, a.z) < 1", "((a.x < 1) and (a.y < 1) and (a.z < 1))"),
        ("min(a.x, a.y) < 1", "((a.x < 1) or (a.y < 1))"),
        ("a.x > max(a.y, a.z)", "((a.x > a.y) and (a.x > a.z))"),
        ("2 - max(a.x, a.y) < 1", "(((2 - a.x) < 1) or ((2 - a.y) < 1))"),
        ("-2 * min(a.x, a.y) < 1", "(((-2 * a.x) < 1) and ((-2 * a.y) < 1))"),
        ("abs(a.x) / 2 < 1", "(((a.x / 2) < 1) and ((-a.x / 2) < 1))"),
        ("abs(a.x) < abs(a.y)", "(((a.x < a.y) or (a.x < -a.y)) and ((-a.x < a.y) or (-a.x < -a.y)))"),
        ("a.x < max(1, 2)", "(a.x < max(1, 2))"),
        ("abs(a.x) == 1", "(abs(a.x) == 1)"),
    ],
)
def test_a_claim_is_judged_as_plain_comparisons(text: str, judged: str) -> None:
    assert said(parse(text).decided) == judged


@pytest.mark.parametrize(
    "text",
    ["abs(a.x) * a.y < 1", "a.z < abs(a.x - a.y) / a.y", "1 / abs(a.x) < 2", "a.y * (1 + max(a.x, 1)) < 3"],
)
def test_a_function_in_a_product_of_measured_numbers_is_refused(text: str) -> None:
    with pytest.raises(ClaimError, match="stands in a product with a measured number") as caught:
        parse(text, "spec.yaml:3: claims.c.holds")
    assert "times a constant" in str(caught.value)
    assert str(caught.value.where).startswith("spec.yaml:3: claims.c.holds, column ")


def test_what_multiplies_beyond_reading_is_refused() -> None:
    numbers = ", ".join(f"a.x{i}" for i in range(9))
    with pytest.raises(ClaimError, match="too long to be judged"):
        parse(f"max({numbers}) < min({numbers.replace('x', 'y')})")
