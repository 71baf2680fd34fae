"""Corpora of the hub: one commit, recorded; read once; a clear no where it cannot be had."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.data.corpora import corpus_hash, load_corpus
from engine.errors import DataError, DataUnavailable
from engine.models.micro import micro_model
from engine.spec.models import CorpusChoice

CHOICE = CorpusChoice(name="openwebtext-100", tokens=5)


class Hub:
    """What stands in for the hub: rows of one dataset, and a note of every call."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = [{"text": "the red cat"}, {"text": "sat on a tower"}]
        self.rows += [{"text": "dogs"}] * 62 + [{"oops": 1}]
        self.problem: Exception | None = None
        self.calls: list[tuple[Any, ...]] = []

    def dataset_info(self, repository: str, timeout: float) -> SimpleNamespace:
        self.calls.append(("info", repository))
        if self.problem:
            raise self.problem
        return SimpleNamespace(sha="abc123")

    def load_dataset(self, repository, configuration, *, split, revision, streaming):
        self.calls.append((repository, configuration, split, revision, streaming))
        if self.problem:
            raise self.problem
        return iter(self.rows)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    found = Hub()
    monkeypatch.setenv("MECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.HfApi", lambda endpoint: found)
    monkeypatch.setitem(
        __import__("sys").modules,
        "datasets",
        SimpleNamespace(load_dataset=found.load_dataset, disable_progress_bars=lambda: None),
    )
    return found


def test_a_corpus_is_streamed_at_a_recorded_commit_and_read_once(hub: Hub, tmp_path: Path):
    model = micro_model()
    first = load_corpus(CHOICE, tmp_path, model)
    assert model.decode(first.ids.tolist()) == "the red cat sat on"
    assert first.starts.tolist() == [0, 3]
    assert "Elriggs/openwebtext-100k at abc123" in first.source
    assert hub.calls == [
        ("info", "Elriggs/openwebtext-100k"),
        ("Elriggs/openwebtext-100k", None, "train", "abc123", True),
    ]
    hub.problem = OSError("no network")
    again = load_corpus(CHOICE, tmp_path, model)
    assert (again.ids.tolist(), again.hash) == (first.ids.tolist(), first.hash)
    assert corpus_hash(CHOICE, tmp_path) == first.hash
    assert len(hub.calls) == 2


def test_a_name_that_speaks_of_a_number_of_documents_is_enough(hub: Hub, tmp_path: Path):
    hub.rows = [{"text": "the red cat"}, {"text": ""}] * 60
    corpus = load_corpus(CorpusChoice(name="openwebtext-100"), tmp_path, micro_model())
    # The first 100 rows, of which every second one is empty and so no document.
    assert (len(corpus.starts), len(corpus.ids)) == (50, 150)
    assert corpus.amount == "150 tokens of 50 documents"
    hub.problem = OSError("no network")
    again = load_corpus(CorpusChoice(name="openwebtext-100"), tmp_path, micro_model())
    assert again.ids.tolist() == corpus.ids.tolist()
    # Another amount is kept beside it, and is the same text.
    hub.problem = None
    more = load_corpus(CorpusChoice(name="openwebtext-100", tokens=170), tmp_path, micro_model())
    assert (more.hash, more.ids[:150].tolist()) == (corpus.hash, corpus.ids.tolist())


def test_any_dataset_id_is_a_corpus(hub: Hub, tmp_path: Path):
    load_corpus(CorpusChoice(name="some-one/Some.Thing", tokens=3), tmp_path, micro_model())
    assert hub.calls[-1] == ("some-one/Some.Thing", None, "train", "abc123", True)


def test_without_the_hub_it_says_so_and_asks_only_once_in_a_while(hub: Hub, tmp_path: Path):
    hub.problem = OSError("no network")
    for _ in range(2):
        with pytest.raises(DataUnavailable, match="no network") as caught:
            corpus_hash(CHOICE, tmp_path)
        assert "smollm2-samples" in caught.value.hint
    assert len(hub.calls) == 1


def test_a_stream_that_breaks_off_keeps_nothing(hub: Hub, tmp_path: Path):
    corpus_hash(CHOICE, tmp_path)
    hub.problem = OSError("connection reset")
    with pytest.raises(DataUnavailable, match="connection reset"):
        load_corpus(CHOICE, tmp_path, micro_model())
    hub.problem = None
    assert len(load_corpus(CHOICE, tmp_path, micro_model()).ids) == 5


def test_a_dataset_without_text_names_its_columns(hub: Hub, tmp_path: Path):
    with pytest.raises(DataError, match="no column text") as caught:
        load_corpus(CorpusChoice(name="openwebtext-100", tokens=100), tmp_path, micro_model())
    assert caught.value.seen == "oops"
