"""What a SAELens folder says, read without its weights: translations, refusals, and what fits what."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import DataError
from engine.lab.sparse.architectures.by_name import SAELENS
from engine.lab.sparse.saelens import write_saelens
from engine.lab.sparse.saelens_config import (
    CONFIG,
    IMPORT,
    READABLE,
    WEIGHTS,
    check_tensors,
    folder_hash,
    misfit,
    plain_site,
    read_config,
    same_model,
    same_site,
)
from tests.bench.saelens_parity import LATENTS, D, coders

SITE = "blocks.3.hook_resid_post"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_saelens(coders()["topk"], tmp_path / "sae", model_name="gpt2", hook_name=SITE)
    return tmp_path / "sae"


def rewrite(folder: Path, **fields) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | fields))


def test_every_architecture_that_is_read_has_a_file():
    assert set(READABLE) == set(SAELENS)


def test_a_configuration_says_what_the_folder_holds(folder):
    config = read_config(folder)
    assert (config.architecture, config.d, config.n_features, config.k) == ("topk", D, LATENTS, 8)
    assert (config.model, config.hook_site, config.made_for) == ("gpt2", SITE, "")
    check_tensors(config)


def test_older_configurations_name_model_and_site_beside_the_sizes(folder):
    rewrite(folder, metadata=None, model_name="gpt2-small", hook_point="blocks.5.hook_resid_pre")
    config = read_config(folder)
    assert (config.model, config.hook_site) == ("gpt2-small", "blocks.5.hook_resid_pre")
    rewrite(folder, hook_name="blocks.6.hook_resid_pre")
    assert read_config(folder).hook_site == "blocks.6.hook_resid_pre"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"d_in": None}, "d_in"),
        ({"d_sae": True}, "d_sae"),
        ({"d_sae": 0}, "d_sae"),
        ({"architecture": "jump_relu"}, "nearest: jumprelu"),
        ({"metadata": {"hook_head_index": 4}}, "hook_head_index: 4"),
    ],
)
def test_what_cannot_be_applied_is_refused_by_name(folder, fields, said):
    rewrite(folder, **fields)
    with pytest.raises(DataError, match=said) as refusal:
        read_config(folder)
    assert str(folder / CONFIG) in str(refusal.value)


def test_the_folder_above_is_no_dictionary_and_those_below_are_named(folder):
    with pytest.raises(DataError, match="nearest: sae"):
        read_config(folder.parent)
    with pytest.raises(DataError, match="seen: a file"):
        read_config(folder / WEIGHTS)


def test_tensors_are_checked_by_name_shape_and_type(folder):
    config = read_config(folder)
    weights = load_file(folder / WEIGHTS)

    def refused(changed: dict) -> str:
        save_file({name: t for name, t in changed.items() if t is not None}, folder / WEIGHTS)
        with pytest.raises(DataError) as refusal:
            check_tensors(config)
        return str(refusal.value)

    renamed = weights | {"W_dec": None, "W_deco": weights["W_dec"]}
    assert "W_dec missing" in refused(renamed) and "nearest: W_deco" in refused(renamed)
    assert "no tensor 'log_threshold'" in refused(weights | {"log_threshold": torch.zeros(LATENTS)})
    assert f"W_enc ({LATENTS}, {D})" in refused(weights | {"W_enc": weights["W_enc"].T.contiguous()})
    assert "b_dec I64" in refused(weights | {"b_dec": torch.zeros(D, dtype=torch.int64)})


def test_another_model_or_site_is_told_with_what_to_do(folder):
    config = read_config(folder)
    assert misfit(config, "gpt2", SITE) is None
    assert misfit(config, "gpt2", None) is None
    assert misfit(config, "gpt2", "blocks.4.hook_resid_pre") is None, "the same activations"
    other = str(misfit(config, "smollm2-135m-instruct", SITE))
    assert "another model" in other and "--model smollm2-135m-instruct" in other
    other = str(misfit(config, "gpt2", "blocks.2.hook_resid_post"))
    assert "another hook site" in other and f"hook_site: {SITE}" in other


def test_what_an_import_says_overrules_the_folder(folder):
    (folder / IMPORT).write_text(json.dumps({"model": "./models/micro", "hook_site": ""}))
    config = read_config(folder)
    assert (config.model, config.hook_site, config.made_for) == ("./models/micro", SITE, f"gpt2, {SITE}")


def test_a_dictionary_that_names_neither_fits_all(folder):
    rewrite(folder, metadata={})
    assert misfit(read_config(folder), "gpt2", SITE) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gpt2-small", "gpt2", True),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m-instruct", True),
        ("EleutherAI/pythia-70m@main", "pythia-70m", True),
        ("./models/micro", "models/micro", True),
        ("./models/micro", "./others/micro", False),
        ("gpt2", "gpt2-medium", False),
    ],
)
def test_one_model_has_several_names(one, other, same):
    assert same_model(one, other) is same_model(other, one) is same


def test_sites_have_several_names():
    assert plain_site("blocks.3.hook_out") == plain_site("model.layers.3") == SITE
    assert plain_site("blocks.3.hook_in") == "blocks.3.hook_resid_pre"
    assert same_site("transformer.h.3", "blocks.4.hook_resid_pre")
    assert not same_site("blocks.3.hook_mlp_out", "blocks.4.hook_mlp_out")


def test_the_hash_is_of_configuration_and_weights_alone(folder):
    before = folder_hash(folder)
    (folder / "README.md").write_text("words")
    (folder / IMPORT).write_text("{}")
    assert folder_hash(folder) == before
    rewrite(folder, k=7)
    assert folder_hash(folder) != before


def test_reading_a_configuration_loads_no_torch(folder):
    code = (
        "import sys; from pathlib import Path\n"
        "from engine.lab.sparse.saelens_config import check_tensors, read_config\n"
        f"check_tensors(read_config(Path({str(folder)!r})))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
