"""Ordinary text: one context of each document, whichever documents come first by hash."""

from __future__ import annotations

import numpy as np

from engine.families.caa_steering.planted_steering import planted_steering
from engine.families.caa_steering.text_loss import first_contexts


def test_one_context_of_each_document_is_read_behind_its_first_token():
    lab = planted_steering(listens=True)
    documents, texts = first_contexts(lab.model, lab.text(), 8, 3)
    assert len(documents) == len(set(documents.tolist())) == len(texts) == 8
    # Four words a document, of which a context of three tokens has the first three.
    assert [len(row) for row in texts.rows] == [3] * 8
    for document, row in zip(documents, texts.rows, strict=True):
        start = lab.text().starts[document]
        np.testing.assert_array_equal(row, lab.text().ids[start : start + 3])
    fewer, _ = first_contexts(lab.model, lab.text(), 3, 3)
    assert fewer.tolist() == documents[:3].tolist()
