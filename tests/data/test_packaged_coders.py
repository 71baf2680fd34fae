"""The packaged autoencoders are the files that their card speaks of, small, and of the default model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.data.corpora import corpus_card
from engine.data.packaged_coders import (
    PACKAGED,
    file_hashes,
    packaged_coder_card,
    packaged_coder_folder,
    packaged_coder_names,
)
from engine.lab.sparse.saelens_config import WEIGHTS, read_config
from engine.models.known import KNOWN

NAMES = ["smollm2-135m-layer15-seed0", "smollm2-135m-layer15-seed1"]


def test_every_file_has_the_checksum_of_the_card() -> None:
    assert packaged_coder_names() == NAMES
    assert file_hashes() == packaged_coder_card()["sha256"]


def test_a_changed_file_has_another_checksum(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_text("one")
    before = file_hashes(tmp_path)
    (tmp_path / "a/x").write_text("two")
    assert file_hashes(tmp_path) != before
    assert list(before) == ["a/x"]


def test_weights_are_small_and_all_of_it_is_not_much_more() -> None:
    weights = sum((PACKAGED / name / WEIGHTS).stat().st_size for name in NAMES)
    assert weights < 3_000_000
    assert sum(path.stat().st_size for path in PACKAGED.rglob("*") if path.is_file()) < 4_200_000


def test_they_are_of_the_default_model_and_say_by_which_command_they_were_made() -> None:
    card = packaged_coder_card()
    assert card["model"] == KNOWN[0].name
    assert card["model_sha256"] == corpus_card("smollm2-samples")["model_sha256"] == KNOWN[0].pins.sha256
    assert card["made_by"].startswith("python -m engine.")
    assert [seed["seed"] for seed in card["seeds"]] == [0, 1]
    for name in NAMES:
        config = read_config(PACKAGED / name)
        assert (config.model, config.hook_site) == (card["model"], card["hook_site"])
        assert (config.n_features, config.k, config.d) == (card["latents"], card["k"], card["d_model"])
        assert config.fields["metadata"]["engine"]["model_hash"] == card["model_sha256"]
        assert json.loads((PACKAGED / name / "cfg.json").read_text())["dtype"] == "float16"


def test_they_explain_far_more_than_random_directions_and_hardly_a_latent_is_dead() -> None:
    for seed in packaged_coder_card()["seeds"]:
        assert seed["explained_variance"] > 0.6 > 3 * seed["random_explained_variance"]
        assert seed["explained_variance"] > seed["pca_explained_variance"]
        assert seed["dead"] / (seed["dead"] + seed["live"]) < 0.05


@pytest.mark.parametrize("name", ["", "..", "../coders", "./smollm2-135m-layer15-seed0", "coders.json", "x"])
def test_no_other_name_leads_to_a_folder(name: str) -> None:
    assert packaged_coder_folder(name) is None


def test_a_name_leads_to_its_folder() -> None:
    assert packaged_coder_folder(NAMES[0]) == PACKAGED / NAMES[0]
