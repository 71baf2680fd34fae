"""`engine sae`: what a run trained goes out, comes back and has the same numbers; what is refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from engine.lab.sparse.saelens_config import CONFIG, IMPORT, WEIGHTS
from engine.models.micro import WORDS, micro_model
from tests.conftest import save_model

SITE = "blocks.1.hook_resid_post"
HARVEST = "context_tokens: 16, held_out: 0.2, shown_latents: 2, spliced_contexts: 4"
TRAIN = f"""\
title: Dictionaries of the micro model
question: Do they come back?
model: ./model
experiments:
  sae:
    family: polysemanticity_sae
    hook_site: {SITE}
    corpus: words.jsonl
    parameters: {{n_features: 48, k: 4, batch_size: 64, lr: 0.01, {HARVEST}}}
    sweep: {{kind: [topk, batchtopk]}}
"""
MEASURE = f"""\
title: The same
question: Do they come back?
model: ./model
experiments:
  sae:
    family: sae_evaluation
    hook_site: {SITE}
    corpus: words.jsonl
    parameters: {{{HARVEST}}}
    sweep: {{coder: [dictionaries/topk, ./dictionaries/batchtopk]}}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a micro model and a text; the working directory."""
    root = tmp_path / "project"
    (root / "investigations").mkdir(parents=True)
    (root / "mkdocs.yml").write_text("site_name: micro\n")
    save_model(micro_model(d_model=32), root / "model")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=24)) for _ in range(60)]
    (root / "words.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (root / "train.yaml").write_text(TRAIN)
    (root / "measure.yaml").write_text(MEASURE)
    monkeypatch.setenv("MECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(root)
    return root


def numbers(answer: Any) -> list[dict[str, Any]]:
    return [run["measurements"] for run in answer.json]


def test_what_a_run_trained_goes_out_and_comes_back_with_its_numbers(engine: Any, place: Path) -> None:
    trained = engine("run", "--spec", "train.yaml", "--json")
    assert trained.code == 0, trained.err
    for run_id, kind in ((1, "topk"), (2, "batchtopk")):
        told = engine("sae", "export", str(run_id), f"out/{kind}", "--json")
        assert told.code == 0, told.err
        assert told.json["files"] == ["README.md", CONFIG, WEIGHTS, "sparsity.safetensors"]
        taken = engine("sae", "import", f"out/{kind}")
        assert taken.code == 0, taken.err
        assert f"coder: ./dictionaries/{kind}" in taken.out and f"hook_site: {SITE}" in taken.out
        assert "note:" not in taken.out
    again = engine("run", "--spec", "measure.yaml", "--json")
    assert again.code == 0, again.err
    for before, after in zip(numbers(trained), numbers(again), strict=True):
        shared = before.keys() & after.keys()
        assert shared > {"explained_variance", "l0", "ce_loss_score", "random_kl", "nearest_cosine"}
        for name in shared:
            assert after[name]["value"] == pytest.approx(before[name]["value"], abs=1e-6), name
    listed = engine("sae", "--json").json
    assert [row["coder"] for row in listed] == ["./dictionaries/batchtopk", "./dictionaries/topk"]
    assert [row["architecture"] for row in listed] == ["jumprelu", "topk"]
    assert {row["model"] for row in listed} == {"./model"}

    readme = (place / "out/batchtopk/README.md").read_text()
    assert f"A sparse autoencoder of ./model at {SITE}" in readme
    assert "| seed | 0 |" in readme and "words.jsonl" in readme and "train/sae[kind=batchtopk]" in readme
    metadata = json.loads((place / "out/batchtopk" / CONFIG).read_text())["metadata"]
    assert (metadata["k"], metadata["engine"]["run"], metadata["context_size"]) == (4, 2, 16)
    spec_hash = metadata["engine"]["spec_hash"]
    assert spec_hash in readme
    if python := os.environ.get("SAELENS_PYTHON"):
        loaded_by_saelens(python, place)

    refused = engine("sae", "export", "1", "out/topk")
    assert refused.code == 2 and "there is something already" in refused.err
    refused = engine("sae", "export", "3", "out/more")
    assert refused.code == 2 and "run 3 trained no dictionary" in refused.err
    assert not (place / "out/more").exists()


LOAD = """
import sys, torch
from safetensors.torch import load_file, save_file
from sae_lens import SAE
x = load_file("x.safetensors")["x"]
for kind in ("topk", "batchtopk"):
    sae = SAE.load_from_disk(f"out/{kind}")
    assert sae.cfg.metadata.hook_name == sys.argv[1] and sae.cfg.metadata.k == 4, sae.cfg
    with torch.no_grad():
        save_file({"out": sae(x).contiguous()}, f"{kind}.safetensors")
"""


def loaded_by_saelens(python: str, place: Path) -> None:
    """SAELens itself loads both folders and reconstructs as we do."""
    import torch

    from engine.lab.sparse.saelens import read_saelens

    x = np.random.default_rng(1).standard_normal((50, 32)).astype(np.float32)
    save_file({"x": x}, place / "x.safetensors")
    subprocess.run([python, "-c", LOAD, SITE], cwd=place, check=True, capture_output=True)
    for kind in ("topk", "batchtopk"):
        coder, _ = read_saelens(place / "out" / kind)
        ours = coder.reconstruct(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(ours, load_file(place / f"{kind}.safetensors")["out"], atol=1e-5)


@pytest.fixture
def theirs(place: Path) -> Path:
    """A folder as another project would have it: of another model's name, at a site by another name."""
    rng = np.random.default_rng(0)
    W_dec = rng.standard_normal((24, 32)).astype(np.float32)
    W_dec[3] = 0
    weights = {"W_enc": W_dec.T.copy(), "b_enc": np.zeros(24), "W_dec": W_dec, "b_dec": np.zeros(32)}
    folder = place.parent / "downloads" / "layer 1"
    folder.mkdir(parents=True)
    save_file({name: array.astype(np.float32) for name, array in weights.items()}, folder / WEIGHTS)
    metadata = {"model_name": "somebody/tiny-stories", "hook_name": "blocks.1.hook_out", "context_size": 64}
    config = {"architecture": "standard", "d_in": 32, "d_sae": 24, "metadata": metadata}
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def rewritten(folder: Path, metadata: dict[str, Any] | None = None, **fields: Any) -> str:
    config = json.loads((folder / CONFIG).read_text()) | fields
    config["metadata"] |= metadata or {}
    (folder / CONFIG).write_text(json.dumps(config))
    return str(folder)


def test_a_folder_is_shown_and_copied_under_a_name_with_what_it_is_read_on(
    engine: Any, place: Path, theirs: Path
) -> None:
    shown = engine("sae", "import", str(theirs), "--dry-run", "--json").json
    assert shown["facts"]["zero rows"] == "1 latents have no decoder or encoder direction"
    assert shown["facts"]["model"] == "somebody/tiny-stories" and shown["coder"] is None
    assert not (place / "dictionaries").exists()
    refused = engine("sae", "import", str(theirs))
    assert refused.code == 2 and "no name for a folder" in refused.err
    taken = engine("sae", "import", str(theirs), "--name", "tiny", "--model", "model")
    assert taken.code == 0, taken.err
    assert f"hook_site: {SITE}" in taken.out
    said = json.loads((place / "dictionaries/tiny" / IMPORT).read_text())
    assert said["model"] == "./model" and "hook_site" not in said
    assert engine("sae").out.splitlines()[1].endswith("./model")
    # Once more with a site: the same files, so that only what is said of them changes.
    again = engine("sae", "import", "dictionaries/tiny", "--hook-site", "blocks.0.hook_mlp_out", "--json")
    assert again.json["coder"] == "./dictionaries/tiny"
    said = json.loads((place / "dictionaries/tiny" / IMPORT).read_text())
    assert (said["model"], said["hook_site"]) == ("./model", "blocks.0.hook_mlp_out")
    rewritten(theirs, apply_b_dec_to_input=False)
    refused = engine("sae", "import", str(theirs), "--name", "tiny")
    assert refused.code == 2 and "another dictionary has this name" in refused.err


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        (["--model", "smollm2-135m"], "nearest: smollm2-135m-instruct"),
        (["--model", "smollm2-135m-instruct"], "expected: d_in: 576"),
        (["--model", "model", "--hook-site", "blocks.7.hook_resid_pre"], "no layer 7"),
        (["--hook-site", "blocks.50%.hook_resid_pre"], "one layer"),
        (["--hook-site", "blocks.1.hook_resid_pos"], "nearest: blocks.1.hook_resid_post"),
    ],
)
def test_what_it_is_read_on_has_to_fit(
    engine: Any, place: Path, theirs: Path, options: list[str], needed: str
) -> None:
    refused = engine("sae", "import", str(theirs), "--name", "tiny", *options)
    assert refused.code == 2 and needed in refused.err and "Traceback" not in refused.err
    assert not (place / "dictionaries").exists()


def test_what_cannot_be_checked_is_said(engine: Any, place: Path, theirs: Path) -> None:
    rewritten(theirs, {"model_name": "tiny-stories"})
    unknown = engine("sae", "import", str(theirs), "--dry-run")
    assert "note: no model here is called tiny-stories" in unknown.out
    rewritten(theirs, {"model_name": None, "hook_name": None})
    silent = engine("sae", "import", str(theirs), "--dry-run").out
    assert "note: the folder names no model" in silent and "note: the folder names no hook site" in silent


def test_a_broken_folder_is_one_message_with_its_file(engine: Any, place: Path, theirs: Path) -> None:
    def refusal() -> str:
        answer = engine("sae", "import", str(theirs), "--name", "tiny")
        assert answer.code == 2 and "Traceback" not in answer.err
        return answer.err

    weights = load_file(theirs / WEIGHTS)
    save_file(weights | {"b_dec": np.full(32, np.nan, np.float32)}, theirs / WEIGHTS)
    assert f"{theirs / WEIGHTS}: b_dec holds numbers that are not finite" in refusal()
    save_file(weights | {"threshold": np.zeros(24, np.float32)}, theirs / WEIGHTS)
    assert "a standard coder has no tensor 'threshold'" in refusal()
    rewritten(theirs, architecture="gated")
    assert f"{theirs / CONFIG}: an SAELens folder of the architecture 'gated'" in refusal()
    (theirs / CONFIG).unlink()
    assert "this is no SAELens folder" in refusal()
    assert not (place / "dictionaries").exists()
