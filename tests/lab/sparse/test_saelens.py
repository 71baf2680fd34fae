"""SAELens folders: the round trip, what is folded, what is refused; and SAELens itself where there is one."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import DataError
from engine.lab.sparse.saelens import read_saelens, write_saelens
from engine.lab.sparse.saelens_config import CONFIG, WEIGHTS
from tests.bench.saelens_parity import LATENTS, LIMIT, D, coders, differences

X = torch.randn(50, D, generator=torch.Generator().manual_seed(2))
SITE = "blocks.3.hook_resid_post"


@pytest.fixture(params=["topk", "batchtopk", "relu"])
def written(request, tmp_path: Path):
    coder = coders()[request.param]
    write_saelens(coder, tmp_path / "sae", model_name="gpt2", hook_name=SITE, context_size=128)
    return coder, tmp_path / "sae"


def change(folder: Path, **fields) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | fields))


def test_what_was_written_is_read_back(written):
    coder, folder = written
    again, config = read_saelens(folder)
    assert again.scale == 1.0 and (config.model, config.hook_site) == ("gpt2", SITE)
    assert config.fields["metadata"]["context_size"] == 128
    torch.testing.assert_close(again.encode(X), coder.encode(X) / coder.scale, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again.reconstruct(X), coder.reconstruct(X), atol=1e-5, rtol=1e-5)


def test_the_bias_that_is_not_taken_from_the_input_is_folded(written):
    _, folder = written
    change(folder, apply_b_dec_to_input=False)
    coder, weights = read_saelens(folder)[0], load_file(folder / WEIGHTS)
    expected = X @ weights["W_enc"] + weights["b_enc"]
    torch.testing.assert_close(coder.pre_activations(X), expected, atol=1e-5, rtol=1e-5)


def test_an_older_configuration_calls_top_k_an_activation(tmp_path):
    write_saelens(coders()["topk"], tmp_path, model_name="gpt2", hook_name=SITE)
    change(tmp_path, architecture="standard", activation_fn_str="topk", activation_fn_kwargs={"k": 5}, k=5)
    coder, _ = read_saelens(tmp_path)
    assert (coder.architecture, coder.k) == ("topk", 5)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"architecture": "gated"}, "gated"),
        ({"architecture": "matryoshka_batchtopk"}, "matryoshka_batchtopk"),
        ({"activation_fn": "tanh-relu"}, "tanh-relu"),
        ({"normalize_activations": "layer_norm"}, "layer_norm"),
        ({"k": None}, "None"),
        ({"d_sae": 7}, "W_enc"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(tmp_path, fields, named):
    write_saelens(coders()["topk"], tmp_path, model_name="gpt2", hook_name=SITE)
    change(tmp_path, **fields)
    with pytest.raises(DataError, match=named) as refusal:
        read_saelens(tmp_path)
    assert str(tmp_path) in str(refusal.value)


def test_folders_that_are_none_or_broken(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read_saelens(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no SAELens folder"):
        read_saelens(tmp_path)
    write_saelens(coders()["topk"], tmp_path, model_name="gpt2", hook_name=SITE)
    (tmp_path / WEIGHTS).write_bytes(b"not weights")
    with pytest.raises(DataError, match="cannot be read"):
        read_saelens(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(DataError, match="weights are missing"):
        read_saelens(tmp_path)
    (tmp_path / CONFIG).write_text("{")
    with pytest.raises(DataError, match="configuration cannot be read"):
        read_saelens(tmp_path)


def test_a_threshold_of_another_shape_is_refused(tmp_path):
    write_saelens(coders()["batchtopk"], tmp_path, model_name="gpt2", hook_name=SITE)
    weights = load_file(tmp_path / WEIGHTS)
    save_file(weights | {"threshold": torch.ones(LATENTS - 1)}, tmp_path / WEIGHTS)
    with pytest.raises(DataError, match="threshold"):
        read_saelens(tmp_path)


def test_codes_equal_those_of_saelens():
    python = os.environ.get("SAELENS_PYTHON")
    if not python:
        pytest.skip("SAELENS_PYTHON names no environment with sae-lens")
    assert max(differences(python).values()) <= LIMIT


def with_weights(folder: Path, **changes) -> None:
    """The folder's weights with some tensors exchanged, added, or taken away where None is given."""
    weights = load_file(folder / WEIGHTS) | changes
    save_file({name: t for name, t in weights.items() if t is not None}, folder / WEIGHTS)


def test_weights_that_are_not_finite_are_refused_with_their_place(written):
    _, folder = written
    W_dec = load_file(folder / WEIGHTS)["W_dec"]
    W_dec[3, 5] = float("nan")
    with_weights(folder, W_dec=W_dec)
    with pytest.raises(DataError, match=r"W_dec holds numbers that are not finite") as refusal:
        read_saelens(folder)
    assert "the first at (3, 5): nan" in str(refusal.value) and WEIGHTS in str(refusal.value)


def test_a_row_of_zeros_does_not_become_nan_where_the_choice_is_rescaled(tmp_path):
    write_saelens(coders()["topk"], tmp_path, model_name="gpt2", hook_name=SITE)
    W_dec = load_file(tmp_path / WEIGHTS)["W_dec"]
    W_dec[7] = 0
    with_weights(tmp_path, W_dec=W_dec)
    change(tmp_path, rescale_acts_by_decoder_norm=True)
    coder, _ = read_saelens(tmp_path)
    assert not coder.W_dec[7].any()
    assert torch.isfinite(coder.reconstruct(X)).all()


def test_a_k_that_is_larger_than_the_dictionary_names_the_file(tmp_path):
    write_saelens(coders()["topk"], tmp_path, model_name="gpt2", hook_name=SITE)
    change(tmp_path, k=LATENTS + 1)
    with pytest.raises(DataError, match=CONFIG):
        read_saelens(tmp_path)
