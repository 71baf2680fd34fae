"""What a model's own files say of its chat template is what its tokenizer has once it is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.models.declared_chat_template import declares_chat_template, has_chat_template
from engine.models.fetch import fetch
from engine.models.load import load
from tests.models.conftest import write_gguf

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
NAMED = [{"name": "default", "template": TEMPLATE}, {"name": "tool_use", "template": "x"}]


def folder_with(write_folder: Callable[..., Path], folder: Path, configured: Any, file: str | None) -> Path:
    write_folder(folder, n_layers=1, d_model=8, n_heads=2)
    if configured is not None:
        config = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": configured}))
    if file is not None:
        (folder / "chat_template.jinja").write_text(file)
    return folder


@pytest.mark.parametrize(
    ("configured", "file", "expected"),
    [
        (None, None, False),
        (TEMPLATE, None, True),
        (NAMED, None, True),
        (None, TEMPLATE, True),
        # The file counts for more, and an empty one is none.
        (TEMPLATE, "", False),
        ("", None, False),
    ],
)
def test_a_folder_has_a_template_where_its_tokenizer_has_one(
    cache: Path,
    tmp_path: Path,
    write_folder: Callable[..., Path],
    configured: Any,
    file: str | None,
    expected: bool,
) -> None:
    folder = folder_with(write_folder, tmp_path / "mine", configured, file)
    assert has_chat_template(str(folder)) is expected
    tokenizer = load(str(folder)).tokenizer
    assert bool(tokenizer.chat_template) is expected
    # Converted, what lies in the cache is asked.
    assert has_chat_template(str(folder)) is expected


def test_named_templates_without_a_default_render_no_plain_request(
    tmp_path: Path, write_folder: Callable[..., Path]
) -> None:
    folder = folder_with(write_folder, tmp_path / "mine", NAMED[1:], None)
    assert declares_chat_template(folder) is False


@pytest.mark.parametrize("template", ["", TEMPLATE])
def test_a_gguf_file_has_the_template_of_its_header(cache: Path, tmp_path: Path, template: str) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", template=template)
    assert has_chat_template(str(file)) is bool(template)
    fetch(str(file))
    assert has_chat_template(str(file)) is bool(template)


def test_of_a_model_that_is_not_fetched_nothing_is_said(cache: Path) -> None:
    assert has_chat_template("smollm2-135m-instruct") is None
    assert has_chat_template("org/model") is None


def test_of_files_that_cannot_be_read_nothing_is_said(
    tmp_path: Path, gguf_file: Path, write_folder: Callable[..., Path]
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf_file.read_bytes()[:200])
    folder = folder_with(write_folder, tmp_path / "mine", None, None)
    (folder / "tokenizer_config.json").write_text("{")
    assert declares_chat_template(cut) is None
    assert declares_chat_template(folder) is None


def test_a_folder_without_a_tokenizers_configuration_has_none(
    tmp_path: Path, write_folder: Callable[..., Path]
) -> None:
    folder = folder_with(write_folder, tmp_path / "mine", None, None)
    (folder / "tokenizer_config.json").unlink()
    assert declares_chat_template(folder) is False
