"""From a name to a model: what is loaded, in which dtype, and the proof that is kept beside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import ModelError
from engine.models import huggingface
from engine.models import load as loading
from engine.models.cards import availability, find_card, shape_of
from engine.models.fetch import fetch
from engine.models.hooked import HookedModel
from engine.models.load import load
from engine.models.micro import micro_model
from tests.models.random_models import random_model, token_ids

WriteFolder = Callable[..., Path]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_local_folder_becomes_the_model_it_holds(
    cache: Path, tmp_path: Path, architecture: str, write_folder: WriteFolder
) -> None:
    name = str(write_folder(tmp_path / "mine", architecture, seed=3))
    assert availability(name)[1].startswith("would be converted")
    model = load(name)
    original = micro_model(architecture, seed=3)  # pyright: ignore[reportArgumentType]
    ids = torch.tensor(original.token_ids(["The capital city of France"]))
    assert model.token_ids(["The capital city of France"]) == ids.tolist()
    assert torch.allclose(model.logits(ids), original.logits(ids), atol=1e-5)
    assert shape_of(name) == original.shape and model.quantisation == ""
    assert model.tokenizer("France is")["input_ids"] == model.token_ids(["France is"])[0]


def test_a_dtype_or_device_that_is_not_here_is_refused(cache: Path) -> None:
    with pytest.raises(ModelError, match="float32 or bfloat16"):
        load("smollm2-135m-instruct", dtype="float16")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="no CUDA device"):
            load("smollm2-135m-instruct", device="cuda")


def test_parity_is_remembered_by_circumstance_and_a_failure_is_not(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(write_folder(tmp_path / "mine"))
    folder = fetch(name)
    with monkeypatch.context() as patch, pytest.raises(ModelError, match="do not equal"):
        patch.setattr(huggingface, "parity", lambda model: huggingface.Parity(0.1, 0.0, 1.0))
        load(name)
    assert not (folder / "parity.json").exists()
    assert load(name).parity <= 5e-5
    measured: list[str] = []

    def measure(model: HookedModel) -> huggingface.Parity:
        measured.append(model.dtype)
        return huggingface.Parity(0.0, 0.0, 1.0)

    monkeypatch.setattr(huggingface, "parity", measure)
    load(name)
    load(name, dtype="bfloat16")
    assert measured == ["bfloat16"]


def test_a_device_is_compared_with_the_cpu_once_and_a_wrong_one_is_refused(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU under another name stands for a device that is not here."""
    name = str(write_folder(tmp_path / "mine"))
    asked: list[str] = []
    gaps = [0.1, float("nan"), 1e-7]

    def gap(model: HookedModel, on_cpu: HookedModel) -> float:
        asked.append(f"{model.device} beside {on_cpu.device}")
        return gaps[len(asked) - 1]

    monkeypatch.setattr(huggingface, "device_gap", gap)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"(?s)cpu:0 computes other logits than the CPU.*rounding"):
            load(name, device="cpu:0")
    assert load(name, device="cpu:0").device_gap == load(name, device="cpu:0").device_gap == 1e-7
    assert load(name).device_gap == 0.0
    assert asked == 3 * ["cpu:0 beside cpu"]


def test_a_device_whose_forward_is_wrong_is_seen(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention without its mask, as on a device that leaves it out."""
    name = str(write_folder(tmp_path / "mine"))
    model = load(name)
    assert huggingface.device_gap(dataclasses.replace(model, device="cpu:0"), model) == 0.0
    scales = tuple(2 * scale for scale in model.anatomy.attention_scales)
    wrong = dataclasses.replace(model, anatomy=dataclasses.replace(model.anatomy, attention_scales=scales))
    gap = huggingface.device_gap(wrong, model)
    with pytest.raises(ModelError, match="computes other logits"):
        huggingface.require_device(gap, 10.0, wrong)


def test_auto_is_what_is_asked_for_or_cuda_or_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, wish, expected in (
        (True, True, "", "cuda"),
        (False, True, "", "cpu"),
        (True, True, "mps", "mps"),
        (True, True, "cpu", "cpu"),
        (False, False, "", "cpu"),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        monkeypatch.setenv("MECH_DEVICE", wish)
        assert loading._device("auto") == expected
    with pytest.raises(ModelError, match="no MPS device"):
        loading._device("mps")
    with pytest.raises(ModelError, match="no such device"):
        loading._device("tpu")


@pytest.mark.parametrize("name", ["gpt_neox", "gemma3", "olmo2", "phi3 with a window", "gemma2", "qwen3"])
def test_a_folder_of_each_architecture_is_loaded_as_it_was_saved(
    cache: Path, tmp_path: Path, name: str
) -> None:
    original = random_model(name)
    folder = tmp_path / "mine"
    original.hf.save_pretrained(folder)
    original.tokenizer.save_pretrained(folder)
    model = load(str(folder))
    assert model.anatomy == original.anatomy and model.parity <= 5e-5
    assert shape_of(str(folder)) == original.shape
    ids = token_ids(original)
    assert torch.equal(model.logits(ids), original.logits(ids))


@pytest.mark.model
def test_the_default_model_knows_the_capital_of_france() -> None:
    model = load("smollm2-135m-instruct")
    assert model.quantisation == "dequantised from Q4_1" and model.parity <= 5e-5
    assert model.shape == find_card("smollm2-135m-instruct").shape
    assert model.hash == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    input_ids = torch.tensor(model.token_ids(["Fact: The capital city of France is the city of"]))
    answer = model.unembed(model.layers(model.embed(input_ids))[0, -1]).argmax()
    assert model.decode([int(answer)]) == " Paris"


def test_bfloat16_is_the_same_weights_rounded(cache: Path, tmp_path: Path, write_folder: WriteFolder) -> None:
    name = str(write_folder(tmp_path / "mine"))
    wide, narrow = load(name), load(name, dtype="bfloat16")
    assert narrow.dtype == "bfloat16" and wide.hash == narrow.hash
    for key, weight in narrow.weights.items():
        assert weight.dtype == torch.bfloat16
        assert torch.equal(weight, wide.weights[key].bfloat16())


def test_other_code_on_the_plain_path_is_proved_anew(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(write_folder(tmp_path / "mine"))
    folder = fetch(name)
    load(name)
    first = json.loads((folder / "parity.json").read_text())
    monkeypatch.setattr(loading, "PLAIN_PATH", loading.PLAIN_PATH[:-1])
    load(name)
    second = json.loads((folder / "parity.json").read_text())
    assert len(first) == 1 and len(second) == 2
    assert set(first) < set(second)
    assert all(text.startswith("float32 on cpu, torch ") for text in second)


def test_the_plain_path_names_files_that_there_are() -> None:
    here = Path(loading.__file__).parent
    assert all((here / name).is_file() for name in loading.PLAIN_PATH)


def test_a_cache_that_cannot_be_written_is_no_reason_not_to_load(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(write_folder(tmp_path / "mine"))
    folder = fetch(name)

    def refuse(*args: object, **more: object) -> int:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", refuse)
        assert load(name).parity <= 5e-5
    assert not (folder / "parity.json").exists()


def test_a_model_that_changes_while_it_is_converted_is_refused(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(write_folder(tmp_path / "mine"))
    convert = loading.fetch

    def meanwhile(*arguments: Any) -> Path:
        folder = convert(*arguments)
        write_folder(tmp_path / "mine", seed=9)
        return folder

    monkeypatch.setattr(loading, "fetch", meanwhile)
    with pytest.raises(ModelError, match="changed while it was being converted"):
        load(name)


def test_progress_of_the_fetch_is_told(cache: Path, tmp_path: Path, write_folder: WriteFolder) -> None:
    name = str(write_folder(tmp_path / "mine"))
    told: list[str] = []
    load(name, progress=lambda what, done, total: told.append(what))
    assert any(what.startswith("converting") for what in told)
    told.clear()
    load(name, progress=lambda what, done, total: told.append(what))
    assert told == []
