import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

from engine.errors import SpecError
from engine.spec.document import Reader, Writer, document_of, read_document

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


def read(folder: Path, text: str, name: str = "spec.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_document(path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e-3", 0.001),
        ("1.5E+2", 150.0),
        ("1e6", 1_000_000),
        ("200_000", 200_000),
        ("-7", -7),
        (".5", 0.5),
        ("2.0", 2.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("2026-01-31", "2026-01-31"),
        ("12:30", "12:30"),
        ("007", "007"),
        ("1_", "1_"),
        (".nan", ".nan"),
        ("'3'", "3"),
        ("é — 首都", "é — 首都"),
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_plain_scalars_mean_what_they_look_like(tmp_path, written, meant):
    value = read(tmp_path, f"a: {written}\n").value["a"]
    assert value == meant and type(value) is type(meant)
    again = yaml.load(yaml.dump({"a": meant}, Dumper=Writer), Loader=Reader)["a"]
    assert again == meant and type(again) is type(meant)


def test_keys_are_always_text(tmp_path):
    assert read(tmp_path, "no: 1\n1: 2\nnull: 3\n2026-01-31: 4\n").value == dict(
        zip(["no", "1", "null", "2026-01-31"], [1, 2, 3, 4], strict=True)
    )


def test_every_value_knows_its_place(tmp_path):
    document = read(tmp_path, "a:\n  b: [1, {c: 2}]\n  d:\n    e: x\n")
    assert document.where(("a", "b", 1, "c")).endswith("spec.yaml:2:14: a.b[1].c")
    assert document.where(("a", "d")).endswith(":3:3: a.d")  # what spans lines stands at its key
    assert document.where(("a", "d", "e")).endswith(":4:8: a.d.e")
    assert document.where(("a", "d", "e"), of_key=True).endswith(":4:5: a.d.e")
    assert document.where(("a", "d", "missing")).endswith(":3:3: a.d")


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {b: [1, 'two', 3.5], c: yes}\nd: *x\ne: {<<: *x, c: null}\n",
        "text: >\n  folded\n  lines\n\n  and more\nother: |\n  as\n    written\n",
        "emoji: 🤔 and 𝛽 then # a comment\nnext: ['🤔', \"\\u00e9\"]\n",
        "? key\n: value\nlist:\n- a\n-   - b\n    - c\n",
        "amounts: [200_000, 1e-3, 1e6, .5, ~, 0x10, 12:30]\n",
    ],
)
def test_libyaml_and_pyyaml_read_the_same_values_at_the_same_places(tmp_path, monkeypatch, text):
    quick = read(tmp_path, text)
    monkeypatch.setattr("engine.spec.document.MAX_NESTING_READ_QUICKLY", -1)
    assert read(tmp_path, text) == quick


@pytest.mark.parametrize("text", ["a:\t1\n", "a: [b?c]\n", "a: b\ufeffc\n"])
def test_what_libyaml_reads_otherwise_is_left_to_pyyaml(tmp_path, text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.spec.document.QuickReader", None)
        with suppress(SpecError):
            read(tmp_path, text)


def test_anchors_and_merges_expand(tmp_path):
    text = "base: &base {k: 1, n: 2}\na: {<<: *base, k: 3}\nb: {<<: [*base, {m: 4}]}\nc: *base\n"
    value = read(tmp_path, text).value
    assert value["a"] == {"k": 3, "n": 2}
    assert value["b"] == {"k": 1, "n": 2, "m": 4}
    assert value["c"] == value["base"]


def test_json_reads_like_yaml(tmp_path):
    data = {"a": [1, 2.5, None, True, "no", "tab\there", "\U0001f600", "</script>"], "b": {"": "x" * 300}}
    document = read(tmp_path, json.dumps(data, indent="\t"), "spec.json")
    assert document.value == data
    assert document.where(("a", 1)).endswith("spec.json:4:3: a[1]")


@pytest.mark.parametrize(
    ("text", "place", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1", "'a' is given twice"),
        ("h: {{ lens.x }}\n", "1:5", "put text that begins with { or [ in quotes"),
        ("a: !!python/object/apply:os.system ['true']\n", "1:4", "is not allowed"),
        ("a: !mine {b: 1}\n", "1:4", "the tag '!mine' is not allowed"),
        ("a: !!binary aGk=\n", "1:4", "is not allowed"),
        ("a: !!int three\n", "1:4", "a whole number"),
        ("a: 1e999\n", "1:4", "a finite number"),
        ("a: " + "9" * 5000 + "\n", "1:4", "a whole number"),
        ('a: "\\ud800"\n', "1:4", "text"),
        ("a: b\x07c\n", "1:5", "#x0007"),
        ("a: {<<: 3}\n", "1:9", "<< merges mappings only"),
        ("a: &a [*a]\n", "1:", "expands without end"),
        ("a: &a {<<: *a}\n", "1:", "expands without end"),
        (BOMB, "1:", "expands without end"),
        ("", "1:1", "the file is empty"),
        ("# only a comment\n", "1:1", "the file is empty"),
    ],
)
def test_broken_yaml_is_told_with_its_place(tmp_path, text, place, told):
    with pytest.raises(SpecError) as caught:
        read(tmp_path, text)
    assert f"spec.yaml:{place}" in str(caught.value)
    assert told in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "spec.yaml").write_text("a: 1\n")
    with pytest.raises(SpecError, match=r"(?s)no such file.*nearest: .*spec\.yaml"):
        read_document(tmp_path / "spec.yml")
    with pytest.raises(SpecError, match="cannot be read"):
        read_document(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: Zürich\n".encode("latin-1"))
    with pytest.raises(SpecError, match=r"(?s)latin\.yaml:2: this is not text.*UTF-8.*0xfc"):
        read_document(tmp_path / "latin.yaml")
    (tmp_path / "large.yaml").write_text("a: 1\n" * 60_000)
    with pytest.raises(SpecError, match="too large"):
        read_document(tmp_path / "large.yaml")
    (tmp_path / "bom.yaml").write_text("a: 1\r\nb: 2\r\n", encoding="utf-8-sig")
    assert read_document(tmp_path / "bom.yaml").value == {"a": 1, "b": 2}


def test_data_that_is_in_no_file_knows_its_paths(tmp_path):
    given = {"sweep": {"seed": range(2)}, "k": np.int64(3), "prompts": tmp_path / "own.csv"}
    document = document_of(given, "<spec>")
    assert document.value == {"sweep": {"seed": [0, 1]}, "k": 3, "prompts": str(tmp_path / "own.csv")}
    assert document.where(("sweep", "seed", 1)) == "<spec>: sweep.seed[1]"
    assert document.where(("missing",)) == "<spec>"
