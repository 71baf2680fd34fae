"""Corpora: every source gives the same tokens, exactly as many as asked for, and bad ones are told apart."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.data import corpora
from engine.data.corpora import (
    Corpus,
    corpus_card,
    corpus_hash,
    corpus_names,
    document_numbers,
    load_corpus,
    tokenizer_hash,
    tokens_by_name,
)
from engine.data.packed import write_packed
from engine.errors import DataError
from engine.models.hooked import HookedModel
from engine.models.micro import WORDS, micro_model
from engine.spec.models import CorpusChoice

TEXTS = ["the capital city of France is Paris", "People speak", "a red cat sat on two green dogs"]


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return micro_model()


def write(path: Path, texts: list[str] = TEXTS) -> str:
    if path.suffix == ".jsonl":
        path.write_text("\n\n".join(json.dumps({"id": 1, "text": text}) for text in texts))
    elif path.suffix == ".parquet":
        pd.DataFrame({"id": 1, "text": texts}).to_parquet(path)
    else:
        path.write_text(" ".join(texts))
    return path.name


def load(name: str, base: Path, model: HookedModel, tokens: int | None = None) -> Corpus:
    return load_corpus(CorpusChoice(name=name, tokens=tokens), base, model)


def refusal(name: str, base: Path, model: HookedModel, tokens: int | None = None) -> DataError:
    with pytest.raises(DataError) as caught:
        load(name, base, model, tokens)
    return caught.value


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet"])
def test_every_format_gives_the_same_tokens(tmp_path: Path, model: HookedModel, name: str):
    corpus = load(write(tmp_path / name), tmp_path, model)
    wanted = model.token_ids(TEXTS, special_tokens=False)
    assert corpus.ids.tolist() == [token for ids in wanted for token in ids]
    assert corpus.hash == corpus_hash(CorpusChoice(name=name), tmp_path)
    assert corpus.source == f"the file {name}"
    if name != "a.txt":
        assert [part.tolist() for part in np.split(corpus.ids, corpus.starts[1:])] == wanted


def test_a_repeated_document_is_read_again_and_is_one_document(tmp_path: Path, model: HookedModel):
    corpus = load(write(tmp_path / "a.jsonl", [*TEXTS, *TEXTS[:2]]), tmp_path, model)
    assert len(corpus.starts) == 5
    assert document_numbers(corpus.ids, corpus.starts).tolist() == [0, 1, 2, 0, 1]
    assert corpus.source == "the file a.jsonl; 2 of 5 documents repeat another one"


def test_a_limit_takes_exactly_so_many_tokens(tmp_path: Path, model: HookedModel):
    name = write(tmp_path / "a.jsonl")
    corpus = load(name, tmp_path, model, 8)
    assert (len(corpus.ids), corpus.starts.tolist()) == (8, [0, 7])
    exact = load(name, tmp_path, model, 7)
    assert (len(exact.ids), exact.starts.tolist()) == (7, [0])
    assert corpus.ids[:7].tolist() == exact.ids.tolist()
    assert corpus.hash == exact.hash


def test_no_more_is_read_than_the_limit_needs(tmp_path: Path, model: HookedModel):
    lines = [json.dumps({"text": "red cat"})] * 200 + ["not JSON"]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert len(load("a.jsonl", tmp_path, model, 100).ids) == 100
    assert refusal("a.jsonl", tmp_path, model).where.endswith("a.jsonl:201")


def test_the_hash_follows_the_bytes(tmp_path: Path):
    choice = CorpusChoice(name="a.txt")
    write(tmp_path / "a.txt")
    before = corpus_hash(choice, tmp_path)
    write(tmp_path / "a.txt", ["other"])
    assert corpus_hash(choice, tmp_path) != before


def test_a_corpus_that_is_too_short_says_how_long_it_is(tmp_path: Path, model: HookedModel):
    error = refusal(write(tmp_path / "a.txt"), tmp_path, model, 1000)
    assert "shorter" in error.problem
    assert (error.expected, error.seen) == ("1,000 tokens", f"17 in the tokens of {model.name}")


@pytest.mark.parametrize(
    ("name", "content", "said", "line"),
    [
        ("a.txt", b"", "the file is empty", ""),
        ("a.txt", b" \n", "the corpus holds no text", ""),
        ("a.txt", b"PK\x03\x04\x00\x00", "a binary file", ":1"),
        ("a.txt", "text\n\ncafé".encode("latin-1"), "not UTF-8", ":3"),
        ("a.jsonl", '{"text": "a"}\n{"text": "café"}'.encode("latin-1"), "not UTF-8", ":2"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "cut emoji \\ud83d"}', "text is not valid Unicode", ":3"),
        ("a.jsonl", b'{"text": "a"}\n\x00', "a binary file", ":2"),
        ("a.jsonl", b"{'text': 1}", "not valid JSON", ":1"),
        ("a.jsonl", b"[1]", "a line is not an object", ":1"),
        ("a.jsonl", b'{"text": 3}', "text is not text", ":1"),
        ("a.jsonl", b'{"txt": "a"}', "no column text", ":1"),
        ("a.parquet", b"PAR1 but not really", "not a readable parquet file", ""),
    ],
)
def test_a_file_that_is_no_corpus_is_told(tmp_path, model, name: str, content: bytes, said: str, line: str):
    (tmp_path / name).write_bytes(content)
    error = refusal(name, tmp_path, model)
    assert (error.problem, error.where) == (said, f"{tmp_path / name}{line}")


def test_a_parquet_file_without_text_names_its_columns(tmp_path: Path, model: HookedModel):
    pd.DataFrame({"texts": ["a"], "n": [1]}).to_parquet(tmp_path / "a.parquet")
    error = refusal("a.parquet", tmp_path, model)
    assert (error.seen, error.near) == ("texts, n", ("texts",))
    pd.DataFrame({"text": [1.5]}).to_parquet(tmp_path / "b.parquet")
    assert refusal("b.parquet", tmp_path, model).problem == "text is not text"


def test_names_and_paths_that_are_not_there_bring_the_nearest(tmp_path: Path, model: HookedModel):
    write(tmp_path / "stories.txt")
    (tmp_path / "folder").mkdir()
    (tmp_path / "table.csv").write_text("text\na")
    assert refusal("storys.txt", tmp_path, model).near == ("stories.txt",)
    assert refusal("openwebtext100", tmp_path, model).near[0] in corpus_names()
    assert refusal("smollm2-sample", tmp_path, model).near == ("smollm2-samples",)
    assert refusal("folder", tmp_path, model).seen == "a folder"
    assert refusal("table.csv", tmp_path, model).seen == ".csv"
    with pytest.raises(DataError, match="nearest: smollm2-samples"):
        corpus_hash(CorpusChoice(name="smollm2-sample"), tmp_path)


def test_a_hub_corpus_needs_to_know_how_much(tmp_path: Path):
    with pytest.raises(DataError, match="how much of openwebtext to stream") as caught:
        corpus_hash(CorpusChoice(name="openwebtext"), tmp_path)
    assert caught.value.hint.endswith("smollm2-samples, wikipedia-106, openwebtext-100, pile-10k")


def test_a_name_alone_says_how_much_where_it_can(tmp_path: Path):
    assert tokens_by_name("smollm2-samples") == corpus_card("smollm2-samples")["tokens"]
    assert tokens_by_name("wikipedia-106") == 654_905
    assert tokens_by_name("openwebtext-100") == 110_000
    assert tokens_by_name("openwebtext") == tokens_by_name("org/name") == tokens_by_name("texts.jsonl") == 0


def test_packaged_tokens_are_used_as_they_are_only_by_the_same_tokenizer(tmp_path, model, monkeypatch):
    words = ["<pad>", "<unk>", *WORDS]
    vocabulary = [f" {word}".encode() for word in dict.fromkeys(words)]
    documents = model.token_ids(TEXTS, special_tokens=False)
    card = {"tokenizer_hash": tokenizer_hash(model.text)}
    write_packed(tmp_path / "tiny.xz", documents, vocabulary, card)
    monkeypatch.setattr(corpora, "PACKAGED", tmp_path)
    own = load("tiny", tmp_path, model)
    assert own.ids.tolist() == [token for ids in documents for token in ids]
    assert own.source == "packaged with the engine"
    other = micro_model(vocab_words=("France", *WORDS[::-1]))
    again = load("tiny", tmp_path, other, 9)
    assert other.decode(again.ids.tolist()) == model.decode(own.ids.tolist()[:9])
    assert again.ids.tolist() != own.ids.tolist()[:9]
    assert again.hash == own.hash


def test_the_packaged_corpus_is_what_its_card_says(model: HookedModel):
    card = corpora.corpus_card("smollm2-samples")
    packed = corpora.read_packed(corpora.PACKAGED / "smollm2-samples.xz")
    assert (card["tokens"], card["documents"]) == (len(packed.ids), len(packed.starts))
    assert np.diff(np.append(packed.starts, len(packed.ids))).min() >= 1
    special = {
        i for i, token in enumerate(packed.vocabulary) if token.decode(errors="replace") in card["ends_at"]
    }
    assert len(special) == 3
    assert not np.isin(packed.ids, sorted(special)).any()
    assert len(load("smollm2-samples", Path(), model, 1000).ids) == 1000


def test_a_key_needs_no_torch_and_no_tokenizer(tmp_path: Path):
    write(tmp_path / "a.txt")
    program = (
        "import sys, pathlib\n"
        "from engine.data.corpora import corpus_hash\n"
        "from engine.spec.models import CorpusChoice\n"
        f"corpus_hash(CorpusChoice(name='a.txt'), pathlib.Path({str(tmp_path)!r}))\n"
        "sys.exit(bool({'torch', 'tokenizers', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_strangers_corpus_is_a_file_of_the_repository(tmp_path: Path) -> None:
    folder = tmp_path / "project/investigations/words"
    folder.mkdir(parents=True)
    (tmp_path / "project/mkdocs.yml").touch()
    (tmp_path / "secret.txt").write_text("a secret of the machine")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    for name in (str(tmp_path / "secret.txt"), "../../../secret.txt", "link.txt"):
        with pytest.raises(DataError, match="leads out of the repository"):
            corpus_hash(CorpusChoice(name=name), folder)
