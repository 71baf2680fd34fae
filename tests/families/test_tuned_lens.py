"""The tuned lens on a model that looks its answers up in layer 1."""

import numpy as np
import pytest

from engine.evidence.builder import Evidence
from engine.families import tuned_lens
from engine.lab.lens import LensReading
from engine.lab.planted import LAYER, N_LAYERS, planted_lab, planted_text


@pytest.fixture(scope="module")
def found():
    lab = planted_lab()
    lab.corpus = planted_text(lab.model)
    params = tuned_lens.Params(tokens=len(lab.corpus.ids), context_tokens=8, held_out=0.25)
    return tuned_lens.run(lab, params).validated()


def test_the_plain_lens_is_the_control_and_says_what_the_lens_family_says(found, lens):
    measured = found.measurements
    assert measured["plain_commit_layer"].value == lens.measurements["commit_layer"].value == LAYER + 1
    assert measured["plain_lead_layer"].value == lens.measurements["lead_layer"].value
    assert measured["tuned_commit_layer"].control == "plain_commit_layer"
    assert measured["tuned_commit_layer"].value <= LAYER + 1


def test_prompts_that_commit_in_the_last_block_are_counted():
    def reading(own: list[list[int]]) -> LensReading:
        ranks = np.array(own)[:, :, None].repeat(2, axis=2)
        return LensReading(ranks, -ranks.astype(np.float32))

    # Four prompts, two blocks: after 0, 1, 2 of them the answer has these ranks.
    plain = reading([[9, 9, 0], [9, 9, 0], [9, 9, 0], [9, 0, 0]])
    tuned = reading([[9, 0, 0], [9, 0, 0], [0, 0, 0], [9, 9, 0]])
    ev = Evidence("prompt", ["a", "b", "c", "d"])
    tuned_lens.when(ev, {"plain": plain, "tuned": tuned}, commit_rank=0, n_layers=2)
    measured = ev.result().measurements
    assert measured["plain_commits_in_last_block"].value == 0.75
    assert measured["tuned_commits_in_last_block"].value == 0.25
    assert (measured["plain_commit_layer"].value, measured["tuned_commit_layer"].value) == (1.75, 1.0)
    assert measured["tuned_commits_in_last_block"].control == "plain_commits_in_last_block"


def test_held_out_documents_are_units_and_were_not_fitted_on(found):
    m = found.measurements["tuned_kl_at_half_depth"]
    assert (m.unit, m.n) == ("document", 8)
    assert found.measurements["tokens_fitted"].value == 24 * 5


def test_the_same_seed_holds_the_same_documents_out():
    lab = planted_lab()
    contexts = tuned_lens.cut(planted_text(lab.model), lab.model, context_tokens=8)
    splits = [
        tuned_lens.held_out(contexts, tuned_lens.Params(held_out=0.25), np.random.default_rng(seed))
        for seed in (0, 0, 1)
    ]
    assert (splits[0][1] == splits[1][1]).all()
    assert set(splits[0][1]) != set(splits[2][1])
    for fitted, tried in splits:
        assert not set(contexts.documents[fitted]) & set(contexts.documents[tried])


def test_tables_have_a_row_for_each_layer_and_lens(found):
    assert len(found.tables["divergence"]) == 3 * (N_LAYERS + 1)
    assert len(found.tables["ranks"]) == 4 * (N_LAYERS + 1)
    assert not found.failed_checks
