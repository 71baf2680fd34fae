"""Families are found by file name, and read without importing torch."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine import families
from engine.errors import SpecError
from engine.runs.planning.code_hash import CodeBook

ENGINE = Path(families.__file__).parent.parent


def test_every_family_keeps_the_contract():
    assert families.names()
    for name in families.names():
        module = families.get(name)
        assert families.about(name)[-1] in ".?" and "Control" in families.docstring(name)
        fields = families.params_model(name).model_fields
        assert list(fields) == list(module.Params.model_fields)
        assert all(field.description for field in fields.values())
        assert module.inputs == families.inputs(name)
        # A field that does not exist would be declared in vain: its values would be judged by nobody.
        read = module.inputs
        fields_read = (*read.site_parameters, *read.coder_parameters, *read.prompt_parameters)
        declared = {*fields_read, read.second_model} - {""}
        assert declared <= set(fields)


@pytest.mark.parametrize("name", families.names())
def test_every_family_tells_two_to_four_pitfalls_each_with_its_source(name):
    declared = families.declaration(name)
    pitfalls = [" ".join(item.split()) for item in re.split(r"(?m)^- ", declared.pitfalls) if item]
    assert 2 <= len(pitfalls) <= 4
    for pitfall in pitfalls:
        # Who said it and when stands in brackets at the end.
        assert re.search(r"\([^()]*(19|20)\d\d[^()]*(\([^()]*\)[^()]*)*\)\.$", pitfall), pitfall
    assert "Pitfalls" not in declared.method and declared.method.startswith("1. ")


def test_the_sites_of_a_crosscoder_are_declared_as_such():
    assert families.inputs("crosscoder").site_parameters == ("sites",)


def test_a_family_is_a_file_or_a_folder(tmp_path):
    (tmp_path / "many_parts").mkdir()
    written = [tmp_path / "one_file.py", tmp_path / "many_parts" / "__init__.py"]
    for path in (*written, tmp_path / "__init__.py", tmp_path / "many_parts" / "part.py"):
        path.write_text("")
    assert families.files(tmp_path) == {"many_parts": written[1], "one_file": written[0]}


@pytest.mark.parametrize("name", families.names())
def test_a_familys_whole_folder_is_in_the_key_of_its_runs(name):
    file = families.source_path(name)
    parts = set(file.parent.glob("*.py")) if file.stem == "__init__" else {file}
    counted = CodeBook(ENGINE).code_of(file)
    assert {path.relative_to(ENGINE.parent).as_posix() for path in parts} <= set(counted)


def test_parameters_are_read_without_torch():
    read = "from engine import families as f; [f.params_model(n).model_fields for n in f.names()]"
    code = f"import sys; {read}; print('torch' in sys.modules)"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen.strip() == "False"


def test_parameters_read_that_way_validate_as_the_familys_own():
    params = families.params_model("logit_lens")
    assert params(commit_rank=3).model_dump() == families.get("logit_lens").Params(commit_rank=3).model_dump()
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        params(commit_rank=-1)
    with pytest.raises(ValueError, match="Extra inputs"):
        params(rank=1)


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(SpecError, match="logit_lens") as error:
        families.get("logit_lense")
    assert error.value.near[0] == "logit_lens"
