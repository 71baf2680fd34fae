"""Everything that is read of a model is in its hash, and nothing else is read."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.models import convert as converting
from engine.models.cards import find_card, is_cached, model_hash, shape_of
from engine.models.load import load
from engine.models.source_files import current_hash, file_stamps, hash_of, only_source_files, source_files

WriteFolder = Callable[..., Path]
OPENED: list[list[str]] = []
"""The lists that are being filled with the paths of opened files; an audit hook cannot be removed."""


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if OPENED and event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | Path):
        for paths in OPENED:
            paths.append(os.path.realpath(arguments[0]))


sys.addaudithook(_listen)


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Where each file lies that Python opens meanwhile, links followed."""
    paths: list[str] = []
    OPENED.append(paths)
    try:
        yield paths
    finally:
        OPENED.remove(paths)


@pytest.fixture
def full_folder(tmp_path: Path, write_folder: WriteFolder) -> Path:
    """A model with every file beside it that a tokenizer may read, and some that nobody may."""
    folder = write_folder(tmp_path / "full")
    words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    texts = {
        "generation_config.json": "{}",
        "special_tokens_map.json": json.dumps({"unk_token": "<unk>"}),
        "added_tokens.json": "{}",
        "vocab.json": json.dumps(words),
        "merges.txt": "#version: 0.2\n",
        "chat_template.jinja": "{{ messages[0].content }}",
        "additional_chat_templates/tools.jinja": "{{ messages }}",
        "README.md": "A model.",
        "modeling_own.py": "raise RuntimeError('run')",
        "optimizer.pt": "a pickle",
    }
    (folder / "additional_chat_templates").mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def test_what_a_load_opens_is_in_the_hash(cache: Path, full_folder: Path) -> None:
    hashed = {str(path) for path in source_files(full_folder)}
    with opened_files() as opened:
        load(str(full_folder)).tokenizer.apply_chat_template([{"role": "user", "content": "Fact"}])
    inside = {path for path in opened if Path(path).is_relative_to(full_folder) and Path(path).is_file()}
    assert {f"{full_folder}/config.json", f"{full_folder}/tokenizer_config.json"} <= inside
    assert inside <= hashed


def test_a_conversion_finds_only_what_is_hashed(
    cache: Path, full_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what is read by libraries that Python cannot listen to: there is nothing else to be found."""
    seen: list[Path] = []
    read = converting.read_checkpoint

    def look(folder: Path) -> object:
        seen.extend(path.resolve() for path in folder.rglob("*"))
        return read(folder)

    monkeypatch.setattr(converting, "read_checkpoint", look)
    with opened_files() as opened:
        load(str(full_folder))
    assert sorted(seen) == source_files(full_folder)
    # The folder itself is listed to see what it is, and is read through links alone.
    assert not [path for path in opened if path.endswith((".md", ".py.txt", ".pt", "tools.jinja"))]


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "generation_config.json",
        "chat_template.jinja",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "tokenizer.model",
        "tokenizer.model.v3",
        "model.safetensors",
        "model.safetensors.index.json",
    ],
)
def test_each_file_that_may_change_tokens_or_weights_changes_the_hash(full_folder: Path, name: str) -> None:
    before = hash_of(full_folder)
    file = full_folder / name
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b" ")
    assert hash_of(full_folder) != before


@pytest.mark.parametrize("name", ["README.md", "modeling_own.py", "optimizer.pt", "run.log"])
def test_a_file_that_is_never_read_changes_nothing(full_folder: Path, name: str) -> None:
    before = hash_of(full_folder), file_stamps(full_folder)
    (full_folder / name).write_text("other")
    assert (hash_of(full_folder), file_stamps(full_folder)) == before


def test_a_prefix_space_makes_another_model(cache: Path, tmp_path: Path, gguf_file: Path) -> None:
    """A setting in tokenizer_config.json alone, which the tokenizer takes over from it."""
    load(str(gguf_file))
    folder = tmp_path / "mine"
    (next(cache.glob("models/path-tiny-*"))).rename(folder)
    for name in ("card.json", "parity.json"):
        (folder / name).unlink()
    settings = {"tokenizer_class": "GPT2Tokenizer", "unk_token": "<s>", "bos_token": "<s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    first = load(str(folder))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"add_prefix_space": True}))
    # Known before it is converted, so that a plan does not take an earlier run for one of this model.
    known = model_hash(str(folder))
    second = load(str(folder))
    assert first.hash != second.hash == known
    assert first.token_ids(["th"]) != second.token_ids(["th"])


def test_a_change_is_seen_though_size_and_time_are_as_before(
    cache: Path, tmp_path: Path, write_folder: WriteFolder
) -> None:
    folder = write_folder(tmp_path / "mine", seed=3)
    before = load(str(folder)).hash
    weights = folder / "model.safetensors"
    times = weights.stat().st_atime_ns, weights.stat().st_mtime_ns
    other = write_folder(tmp_path / "other", seed=4) / "model.safetensors"
    weights.write_bytes(other.read_bytes())
    os.utime(weights, ns=times)
    assert not is_cached(find_card(str(folder)))
    assert before != current_hash(folder) == load(str(folder)).hash


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_hash_and_shape_of_a_folder_are_known_before_it_is_converted(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, architecture: str
) -> None:
    name = str(write_folder(tmp_path / "mine", architecture))
    known, shape = model_hash(name), shape_of(name)
    model = load(name)
    assert (model.hash, model.shape) == (known, shape)


def test_links_lead_to_the_files(full_folder: Path) -> None:
    with only_source_files(full_folder) as folder:
        assert hash_of(folder) == hash_of(full_folder)
        assert all(path.is_symlink() for path in folder.iterdir())
    assert not folder.exists() and (full_folder / "config.json").is_file()
