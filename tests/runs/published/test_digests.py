"""A digest is over values at their place: it does not see how they are written, and sees all else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.runs.published.digests import (
    DIGEST,
    DIGITS,
    is_sealed,
    is_sealed_file,
    sealed,
    sealed_file,
    table_digest,
)

PLACE = ("tiny", "runs", "count")
DATA: dict[str, Any] = {
    "measurements": {"score": {"value": 25.5, "low": None, "n": 20, "exact": True, "about": "ä"}},
    "checks": [{"name": "identity", "value": 1e-7}, {"name": "other", "value": "nan"}],
    # As a field that measurements may gain: nothing here knows the fields.
    "replicates_by_cluster": {"relation": [[0.1, 2.0], [3, -4e-12]]},
}


def test_what_is_sealed_is_so_until_a_value_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sealed(DATA, PLACE)
    assert len(whole[DIGEST]) == DIGITS
    assert is_sealed(whole, PLACE)
    assert not is_sealed(DATA, PLACE)
    assert sealed(whole, PLACE) == whole


def test_however_json_is_written_its_content_is_the_same() -> None:
    whole = sealed(DATA, PLACE)
    for text in (
        json.dumps(whole),
        json.dumps(whole, indent=4, sort_keys=True, ensure_ascii=False),
        json.dumps(whole).replace("20,", "20.0,").replace("2.0]", "2]").replace("1e-07", "0.0000001"),
        json.dumps(whole, indent=1).replace("\n", "\r\n"),
    ):
        assert is_sealed(json.loads(text), PLACE), text


def edits(value: Any, way: tuple = ()) -> list[tuple]:
    """The ways to every value of a tree that holds no other."""
    if not isinstance(value, dict | list):
        return [way]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [found for name, item in items for found in edits(item, (*way, name))]


@pytest.mark.parametrize("way", edits(DATA), ids=str)
def test_no_value_can_be_changed_or_taken_out_unseen(way: tuple) -> None:
    for edit in ("change", "remove"):
        data = json.loads(json.dumps(sealed(DATA, PLACE)))
        part = data
        for name in way[:-1]:
            part = part[name]
        if edit == "change":
            part[way[-1]] = 999.0
        else:
            del part[way[-1]]
        assert not is_sealed(data, PLACE), (way, edit)


@pytest.mark.parametrize(
    "edit",
    [
        {"added": 1},
        {"added": None},
        {"checks": []},
        {"measurements": {"score": float("nan")}},
        {DIGEST: ""},
        {DIGEST: "0" * DIGITS},
    ],
)
def test_nothing_can_be_put_in_unseen(edit: dict[str, Any]) -> None:
    assert not is_sealed(sealed(DATA, PLACE) | edit, PLACE)


def test_true_is_not_one_and_text_is_not_a_number() -> None:
    for was, now in ((True, 1), (1, "1"), (None, ""), ([], {})):
        assert not is_sealed(sealed({"x": was}, PLACE) | {"x": now}, PLACE)


def test_what_is_right_in_one_place_is_not_so_in_another() -> None:
    whole = sealed(DATA, PLACE)
    others = [("small", "runs", "count"), ("tiny", "verdicts", "count"), ("tiny", "runs", "more"), ("tiny",)]
    for place in others:
        assert not is_sealed(whole, place)


def test_a_file_proves_which_runs_and_verdicts_it_has() -> None:
    runs = {name: sealed(DATA, ("tiny", "runs", name)) for name in ("a", "b")}
    verdicts = {"more": sealed({"verdict": "supported"}, ("tiny", "verdicts", "more"))}
    file = sealed_file({"format": 2, "model": "tiny", "runs": runs, "verdicts": verdicts}, ("tiny",))
    assert is_sealed_file(file, ("tiny",))
    assert not is_sealed_file(file | {"runs": {"a": runs["a"]}}, ("tiny",))
    assert not is_sealed_file(file | {"verdicts": {}}, ("tiny",))
    assert not is_sealed_file(file | {"note": "by hand"}, ("tiny",))


def test_a_table_has_the_same_digest_whichever_line_ends_it_has() -> None:
    content = b'word,n\n"a, b",1\n'
    assert table_digest(content) == table_digest(content.replace(b"\n", b"\r\n"))
    assert table_digest(content) != table_digest(content.replace(b"1", b"2"))
    assert table_digest(content) != table_digest(content + b"c,3\n")
