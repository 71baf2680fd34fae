"""Codes of a corpus: read as a run reads it, measured as sae_evaluation does, and kept in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.data.corpora import Corpus, load_corpus
from engine.data.packaged_coders import CODES, packaged_coder_card, packaged_coder_folder
from engine.errors import DataError
from engine.lab.harvest import harvest
from engine.lab.lab import Lab
from engine.lab.sparse.coder import random_coder
from engine.lab.sparse.corpus_codes import (
    READ,
    READ_TOKENS,
    CorpusCodes,
    corpus_codes,
    read_codes,
    read_corpus,
    write_codes,
)
from engine.lab.sparse.held_out import hold_out
from engine.lab.sparse.saelens import read_saelens
from engine.models.hooked import HookedModel
from engine.models.load import load
from engine.models.micro import micro_model
from engine.spec.family_params import HarvestParams
from engine.spec.models import CorpusChoice

SITE = "blocks.1.hook_resid_pre"
PARAMS = HarvestParams(held_out=0.5, context_tokens=12)


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return micro_model("llama")


@pytest.fixture(scope="module")
def corpus(model: HookedModel) -> Corpus:
    ids = np.random.default_rng(0).integers(0, model.shape.vocab, 900).astype(np.int32)
    return Corpus("made up", "hash", "here", ids, np.arange(0, 900, 30))


@pytest.fixture(scope="module")
def found(model: HookedModel, corpus: Corpus) -> CorpusCodes:
    rows = read_corpus(model, corpus, SITE, PARAMS)
    return corpus_codes(rows, random_coder(model.shape.d_model, 40, 4, seed=0), 4)


def test_rows_are_those_that_a_run_holds_out(model: HookedModel, corpus: Corpus) -> None:
    rows = read_corpus(model, corpus, SITE, PARAMS)
    lab = Lab(model=model, corpus=corpus, hook_site=SITE)
    acts = harvest(model, corpus, [SITE], folder=None, context_tokens=PARAMS.context_tokens)
    fitted, held, _ = hold_out(lab, acts, PARAMS)
    assert rows.fitted.n_tokens == fitted.n_tokens
    assert rows.held.names == held.names
    np.testing.assert_array_equal(rows.held.ids, held.ids)
    every = torch.arange(len(held.ids))
    torch.testing.assert_close(rows.held.rows(every), held.rows(every), atol=1e-5, rtol=0)


def test_codes_come_back_from_a_file_with_their_numbers(found: CorpusCodes, tmp_path: Path) -> None:
    write_codes(found, tmp_path / CODES)
    again = read_codes(tmp_path / CODES)
    assert again.numbers == found.numbers
    assert again.norm_limit == found.norm_limit
    np.testing.assert_array_equal(again.ids, found.ids)
    np.testing.assert_array_equal(again.context, found.context)
    torch.testing.assert_close(again.codes.latents, found.codes.latents)
    torch.testing.assert_close(again.codes.starts, found.codes.starts)
    # Half precision: eleven bits.
    torch.testing.assert_close(again.codes.values, found.codes.values, rtol=2**-11, atol=1e-6)
    np.testing.assert_array_equal(again.live, found.live)


def test_a_file_that_holds_no_codes_is_refused_by_name(found: CorpusCodes, tmp_path: Path) -> None:
    path = tmp_path / CODES
    with pytest.raises(DataError, match="cannot be read"):
        read_codes(path)
    write_codes(found, path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=str(path)):
        read_codes(path)


def test_more_than_16_bits_are_refused(found: CorpusCodes, tmp_path: Path) -> None:
    wide = CorpusCodes(found.codes, found.ids + 70_000, found.context, found.norm_limit, found.numbers)
    with pytest.raises(DataError, match="16 bits"):
        write_codes(wide, tmp_path / CODES)


def test_who_hears_of_progress_can_end_it(model: HookedModel, corpus: Corpus) -> None:
    def stop(fraction: float, words: str = "") -> None:
        raise InterruptedError(words)

    with pytest.raises(InterruptedError, match="of 900 tokens"):
        read_corpus(model, corpus, SITE, PARAMS, progress=stop)


@pytest.mark.model
def test_packaged_autoencoders_are_worth_what_their_card_says() -> None:
    smollm2 = load("smollm2-135m-instruct")
    card = packaged_coder_card()
    text = load_corpus(CorpusChoice(name=card["corpus"], tokens=READ_TOKENS), Path.cwd(), smollm2)
    rows = read_corpus(smollm2, text, card["hook_site"], READ)
    for seed in card["seeds"]:
        folder = packaged_coder_folder(f"smollm2-135m-layer15-seed{seed['seed']}")
        assert folder is not None
        coder, _ = read_saelens(folder)
        measured = corpus_codes(rows, coder, coder.k)
        shipped = read_codes(folder / CODES)
        assert shipped.numbers == {name: seed[name] for name in shipped.numbers}
        for name, value in measured.numbers.items():
            assert value == pytest.approx(seed[name], abs=1e-4), name
        assert int(measured.live.sum()) == seed["live"]
        np.testing.assert_array_equal(measured.ids, shipped.ids)
        # On another machine a rounding error may turn which of two equal latents is kept.
        same = measured.codes.latents == shipped.codes.latents
        assert same.double().mean() > 0.999
        error = (measured.codes.values - shipped.codes.values)[same].abs()
        assert (error <= 2e-3 * measured.codes.values[same] + 1e-4).all()
