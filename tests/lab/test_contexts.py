"""How a corpus is cut: every token once, no context across documents, BOS in front and out of the count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.data.corpora import Corpus
from engine.errors import DataError, ModelError
from engine.lab.contexts import cut
from engine.models.micro import micro_model
from tests.lab.texts import BOS, made_up, with_bos

CORPUS = made_up()


@pytest.mark.parametrize("make", [micro_model, with_bos])
@pytest.mark.parametrize("tokens", [None, 1, 100, 101])
def test_every_token_is_in_one_context_and_no_context_in_two_documents(make, tokens):
    contexts = cut(CORPUS, make(), context_tokens=16, tokens=tokens)
    ids = np.concatenate([contexts.row_ids(c) for c in range(len(contexts))])
    assert ids.tolist() == CORPUS.ids[:tokens].tolist()
    owner = np.searchsorted(CORPUS.starts, contexts.starts, side="right")
    last = np.searchsorted(CORPUS.starts, contexts.starts + contexts.lengths - 1, side="right")
    assert (owner == last).all()
    room = 16 - (contexts.bos is not None)
    assert contexts.lengths.max() <= room
    assert len(contexts) <= len(CORPUS.starts) + len(CORPUS.ids) // room


def test_contexts_of_one_document_and_of_its_repeats_have_one_number():
    once = made_up(6)
    twice = replace(
        once,
        ids=np.concatenate([once.ids, once.ids]),
        starts=np.concatenate([once.starts, once.starts + len(once.ids)]),
    )
    contexts = cut(twice, micro_model(), context_tokens=16)
    owner = np.searchsorted(twice.starts, contexts.starts, side="right") - 1
    assert contexts.documents.tolist() == (owner % 6).tolist()
    # Only the last document is cut off by a limit, and is another one then.
    assert len(set(cut(twice, micro_model(), context_tokens=16, tokens=2 * len(once.ids) - 1).documents)) == 7


@pytest.mark.parametrize(("n_contexts", "stretch"), [(5, 1), (100, 5), (1000, 16)])
def test_a_stream_without_documents_is_cut_into_stretches(n_contexts: int, stretch: int):
    ids = np.arange(16 * n_contexts, dtype=np.int32) % 20
    stream = Corpus("stream", "", "", ids, np.zeros(1, dtype=np.int64))
    contexts = cut(stream, micro_model(), context_tokens=16)
    assert contexts.documents.tolist() == [c // stretch for c in range(n_contexts)]


def test_bos_leads_and_counts_only_where_it_is_included():
    for include, first in ((False, 1), (True, 0)):
        contexts = cut(CORPUS, with_bos(), context_tokens=16, include_bos=include)
        some = np.array([0, 5, 2])
        inputs, counted = contexts.inputs(some), contexts.counted(some)
        assert (inputs[:, 0] == BOS).all()
        assert counted.sum(1).tolist() == contexts.rows[some].tolist()
        assert counted[:, 0].all() == include
        assert contexts.first_position == first
        assert inputs[1][counted[1]].tolist() == contexts.row_ids(5).tolist()


def test_what_cannot_be_cut_is_told():
    with pytest.raises(DataError, match="shorter"):
        cut(CORPUS, micro_model(), tokens=len(CORPUS.ids) + 1)
    with pytest.raises(DataError, match="from 2 to 128"):
        cut(CORPUS, with_bos(), context_tokens=1)
    with pytest.raises(DataError, match="from 1 to 128"):
        cut(CORPUS, micro_model(), context_tokens=129)
    with pytest.raises(ModelError, match="declares no BOS"):
        cut(CORPUS, micro_model(), include_bos=True)
