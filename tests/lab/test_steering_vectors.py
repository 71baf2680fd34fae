"""Steering vectors as files: what is written comes back in both forms, and what does not fit is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader, GGUFWriter
from safetensors.numpy import save_file

from engine.errors import DataError, ModelError, SpecError
from engine.lab.steering_vectors import (
    ADDED,
    SteeringVector,
    VectorSource,
    control_layer,
    engine_version,
    llama_architecture,
    load_vector,
    random_vector,
    require_fits,
    save_vector,
    steering_edits,
)
from engine.models.hooked import HookedModel
from engine.models.micro import micro_model
from engine.models.sites import site_of

POST = "blocks.1.hook_resid_post"
MODEL = micro_model(n_layers=3)


def vector_source(model: HookedModel, **known: str) -> VectorSource:
    return VectorSource(
        model=model.name,
        model_hash=model.hash,
        architecture=llama_architecture(model),
        engine=engine_version(),
        **known,
    )


def a_vector(site: str = POST, width: int = 32, **source: str) -> SteeringVector:
    direction = np.random.default_rng(0).standard_normal(width).astype(np.float32)
    known = {"method": "mean difference", "prompts": "sentiment", "prompts_hash": "ab12", "run": "cd34"}
    return SteeringVector({site: direction}, vector_source(MODEL, **(known | source)))


@pytest.mark.parametrize("suffix", ["safetensors", "gguf"])
@pytest.mark.parametrize("site", [POST, "blocks.2.hook_resid_pre"])
def test_what_is_written_comes_back_to_the_bit_with_where_it_is_from(
    tmp_path: Path, suffix: str, site: str
) -> None:
    vector = a_vector(site)
    path = tmp_path / f"v.{suffix}"
    save_vector(vector, path)
    found = load_vector(path)
    assert list(found.directions) == [site]
    np.testing.assert_array_equal(found.directions[site], vector.directions[site])
    assert found.source == vector.source and found.source.coefficient == ADDED
    assert found.source.model == MODEL.name and found.source.engine.startswith("mech-interpretability ")
    require_fits(found, MODEL)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # nothing was left beside it


def test_a_site_that_no_control_vector_has_goes_into_safetensors_alone(tmp_path: Path) -> None:
    vector = a_vector("blocks.1.hook_mlp_out")
    save_vector(vector, tmp_path / "v.safetensors")
    assert list(load_vector(tmp_path / "v.safetensors").directions) == ["blocks.1.hook_mlp_out"]
    with pytest.raises(DataError, match=r"llama\.cpp cannot add a vector at blocks\.1\.hook_mlp_out"):
        save_vector(vector, tmp_path / "v.gguf")
    assert [file.name for file in tmp_path.iterdir()] == ["v.safetensors"]


def test_the_control_vector_is_the_form_that_llama_cpp_loads(tmp_path: Path) -> None:
    directions = {f"blocks.{layer}.hook_resid_post": np.full(32, layer, np.float32) for layer in (1, 2)}
    save_vector(SteeringVector(directions, vector_source(MODEL)), tmp_path / "v.gguf")
    reader = GGUFReader(tmp_path / "v.gguf")
    said = {name: each.contents() for name, each in reader.fields.items()}
    assert said["general.architecture"] == "controlvector"
    assert said["controlvector.model_hint"] == "llama"
    assert said["controlvector.layer_count"] == 2
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert list(tensors) == ["direction.1", "direction.2"]
    for layer in (1, 2):
        tensor = tensors[f"direction.{layer}"]
        assert tensor.tensor_type.name == "F32" and list(tensor.shape) == [32]
        np.testing.assert_array_equal(tensor.data, np.full(32, layer))


def test_direction_n_is_added_to_what_block_n_of_hugging_face_gives() -> None:
    # llama.cpp: `cur = build_cvec(cur, il)` stands at the end of block il, blocks counted from 0.
    layer = control_layer(POST)
    assert layer == control_layer("blocks.2.hook_resid_pre") == 1
    direction = torch.from_numpy(a_vector().directions[POST])
    ids = torch.tensor(MODEL.token_ids(["the city of France is red"]))
    hook = MODEL.hf.model.layers[layer].register_forward_hook(lambda _module, _given, out: out + direction)
    with torch.no_grad():
        theirs = MODEL.hf(ids, use_cache=False).logits
        hook.remove()
        plain = MODEL.hf(ids, use_cache=False).logits
        for name in (POST, "blocks.2.hook_resid_pre"):
            edit = {site_of(name, 3): lambda x: x + direction}
            ours = MODEL.unembed(MODEL.forward(ids, edit=edit).resid)
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert float((theirs - plain).abs().max()) > 0.1  # the hook fired


@pytest.mark.parametrize(
    "site", ["blocks.0.hook_resid_post", "blocks.1.hook_resid_pre", "blocks.0.hook_resid_pre"]
)
def test_llama_cpp_takes_no_direction_zero(site: str) -> None:
    with pytest.raises(DataError, match="before or after block 0") as refused:
        control_layer(site)
    assert "safetensors" in refused.value.hint


def test_a_relative_depth_is_no_layer_of_llama_cpp() -> None:
    with pytest.raises(DataError, match="a vector is at one layer"):
        control_layer("blocks.50%.hook_resid_post")


def test_two_directions_at_one_place_of_llama_cpp_are_refused(tmp_path: Path) -> None:
    both = {site: np.ones(32, np.float32) for site in (POST, "blocks.2.hook_resid_pre")}
    with pytest.raises(DataError, match="two directions at one place"):
        save_vector(SteeringVector(both), tmp_path / "v.gguf")


def theirs(path: Path, *, tensor: str = "direction.2", hint: str = "llama", dtype: type = np.float32) -> Path:
    """A control vector as another tool would write it."""
    writer = GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", hint)
    writer.add_uint32("controlvector.layer_count", 1)
    writer.add_tensor(tensor, np.ones(32, dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_control_vector_of_another_tool_is_added_where_llama_cpp_adds_it(tmp_path: Path) -> None:
    found = load_vector(theirs(tmp_path / "v.gguf"))
    assert list(found.directions) == ["blocks.2.hook_resid_post"]
    assert found.source == VectorSource(architecture="llama")
    require_fits(found, MODEL)
    with pytest.raises(ModelError, match="of another architecture"):
        require_fits(load_vector(theirs(tmp_path / "w.gguf", hint="qwen2")), MODEL)
    with pytest.raises(SpecError, match="the model has no layer 7"):
        require_fits(load_vector(theirs(tmp_path / "x.gguf", tensor="direction.7")), MODEL)


@pytest.mark.parametrize(
    ("changed", "needed"),
    [
        ({"tensor": "direction.0"}, "a tensor that no control vector has"),
        ({"tensor": "blk.1.attn_q.weight"}, "a tensor that no control vector has"),
        ({"dtype": np.float16}, "not of the type of a control vector"),
    ],
)
def test_a_control_vector_that_llama_cpp_would_refuse_is_refused(
    tmp_path: Path, changed: dict, needed: str
) -> None:
    path = theirs(tmp_path / "v.gguf", **changed)
    with pytest.raises(DataError, match=needed) as refused:
        load_vector(path)
    assert refused.value.where == str(path)


def test_a_vector_of_another_width_or_model_is_told_with_both() -> None:
    with pytest.raises(ModelError, match="of another width") as refused:
        require_fits(a_vector(width=16), MODEL, "v.gguf")
    assert refused.value.where == "v.gguf"
    assert "32 numbers" in refused.value.expected and "16" in refused.value.seen
    other = micro_model(n_layers=3, seed=1)
    with pytest.raises(ModelError, match="of another model") as refused:
        require_fits(a_vector(), other)
    assert other.name in refused.value.expected and MODEL.name in refused.value.seen


def test_a_file_that_is_none_is_one_message(tmp_path: Path) -> None:
    save_vector(a_vector(), tmp_path / "sentiment.safetensors")
    with pytest.raises(DataError, match="there is no such file") as refused:
        load_vector(tmp_path / "sentimnt.safetensors")
    assert refused.value.near == ("sentiment.safetensors",)
    with pytest.raises(DataError, match=r"a steering vector is a \.safetensors or a \.gguf file"):
        load_vector(tmp_path / "sentiment.pt")
    with pytest.raises(DataError, match="no such folder"):
        save_vector(a_vector(), tmp_path / "nowhere" / "v.gguf")
    for suffix in ("safetensors", "gguf"):
        (tmp_path / f"broken.{suffix}").write_bytes(b"nothing of the kind")
        with pytest.raises(DataError, match="damaged, or no steering vector") as refused:
            load_vector(tmp_path / f"broken.{suffix}")
        assert refused.value.where.endswith(suffix)
        (tmp_path / f"empty.{suffix}").write_bytes(b"")
        with pytest.raises(DataError, match="damaged, or no steering vector"):
            load_vector(tmp_path / f"empty.{suffix}")
    save_file({"a": np.ones(3, np.float32)}, tmp_path / "weights.safetensors")
    with pytest.raises(DataError, match="the file is no steering vector"):
        load_vector(tmp_path / "weights.safetensors")


def test_numbers_that_are_none_and_widths_that_differ_are_refused() -> None:
    broken = np.full(32, np.nan, np.float32)
    with pytest.raises(DataError, match=f"the direction at {POST} holds numbers that are not finite"):
        SteeringVector({POST: broken})
    with pytest.raises(DataError, match="of one width"):
        SteeringVector({POST: np.ones(4), "blocks.2.hook_resid_post": np.ones(5)})
    with pytest.raises(DataError, match="without a direction"):
        SteeringVector({})


def test_a_later_version_may_say_more(tmp_path: Path) -> None:
    save_vector(a_vector(), tmp_path / "v.safetensors")
    header = (tmp_path / "v.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    said = json.loads(header[8 : 8 + length])
    said["__metadata__"]["invented"] = "yes"
    new = json.dumps(said).encode()
    (tmp_path / "w.safetensors").write_bytes(len(new).to_bytes(8, "little") + new + header[8 + length :])
    assert load_vector(tmp_path / "w.safetensors").source == a_vector().source
    assert replace(a_vector().source, run="") != a_vector().source


def test_a_random_vector_is_as_long_at_each_site_and_another_at_each() -> None:
    sites = (POST, "blocks.2.hook_resid_post")
    vector = SteeringVector(
        {site: np.full(32, length, np.float32) for site, length in zip(sites, (1, 3), strict=True)}
    )
    drawn = random_vector(vector, seed=0)
    lengths = [float(np.linalg.norm(direction)) for direction in drawn.directions.values()]
    assert lengths == pytest.approx([32**0.5, 3 * 32**0.5])
    one, other = (direction / np.linalg.norm(direction) for direction in drawn.directions.values())
    assert abs(float(one @ other)) < 0.9
    again = random_vector(vector, seed=0)
    np.testing.assert_array_equal(again.directions[POST], drawn.directions[POST])


def test_a_vector_is_added_times_the_coefficient_at_each_site() -> None:
    vector = a_vector()
    ids = torch.tensor(MODEL.token_ids(["the city of France"]))
    site = site_of(POST, 3)
    plain = MODEL.forward(ids, read=[site]).activations[site]
    steered = MODEL.forward(ids, read=[site], edit=steering_edits(vector, MODEL, -2.0)).activations[site]
    expected = -2.0 * torch.from_numpy(vector.directions[POST]).expand_as(plain)
    torch.testing.assert_close(steered - plain, expected, atol=1e-5, rtol=0)
