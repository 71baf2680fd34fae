"""The packaged sets beside `facts`: sizes, balance over clusters, content that is each row's own, and labels
that lengths and single words do not give away."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from engine.data.prompts import PACKAGED, PromptSet, load_prompts, prompt_set_names
from engine.spec.inputs import CHAT, CONTRAST, LABELLED, PromptKind
from engine.spec.models import PromptChoice

SETS: dict[str, tuple[PromptKind, int, int]] = {  # kind, rows, topics
    "refusal": (CHAT, 560, 28),
    "language": (CHAT, 240, 15),
    "sentiment": (CONTRAST, 200, 20),
    "sentiment-open": (CHAT, 40, 20),
    "certainty": (CONTRAST, 200, 20),
    "certainty-open": (CHAT, 40, 20),
    "truth": (LABELLED, 300, 15),
    "animal": (LABELLED, 208, 26),
    "subject-number": (LABELLED, 224, 28),
}
MATCHED = {  # the two labels of each pair, and how many words its texts may differ by
    "refusal": ({"harmful", "harmless"}, 2),
    "language": ({"french", "plain"}, 3),
    "truth": ({"true", "false"}, 6),
    "animal": ({"animal", "other"}, 2),
    "subject-number": ({"singular", "plural"}, 0),
}
TEXTS: dict[PromptKind, tuple[str, ...]] = {
    CHAT: ("request",),
    CONTRAST: ("positive", "negative"),
    LABELLED: ("text",),
}
SAME_WORDS = ("truth", "subject-number")
UNNATURAL = re.compile(r"https?:|www\.|\S@\S|\t|\n|  |[{}<>\[\]_]|\bTODO\b")


Rows = list[dict[str, str]]


def load(name: str, limit: int | None = None) -> PromptSet:
    return load_prompts(PromptChoice(name=name, limit=limit), Path(), SETS[name][0])


def rows_of(name: str, limit: int | None = None) -> Rows:
    table = load(name, limit).table
    return [{str(column): str(cell) for column, cell in row.items()} for row in table.to_dict("records")]


def by(rows: Rows, column: str) -> dict[str, Rows]:
    """The rows by their entry in a column, in the order of the file."""
    found: dict[str, Rows] = {}
    for row in rows:
        found.setdefault(row[column], []).append(row)
    return found


def pairs_of(name: str) -> list[dict[str, dict[str, str]]]:
    """The pairs of a set: the row of each label."""
    return [{row["label"]: row for row in pair} for pair in by(rows_of(name), "pair").values()]


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def test_every_packaged_set_is_known_here_and_has_a_card() -> None:
    assert set(prompt_set_names()) == {"facts", *SETS}
    for name in SETS:
        card = (PACKAGED / f"{name.removesuffix('-open')}.md").read_text()
        assert f"`{name}`" in card and "MIT" in card


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_read_as_its_kind_with_as_many_rows_of_each_topic(name: str) -> None:
    kind, rows, topics = SETS[name]
    prompts = load(name)
    per_topic = Counter(prompts.table["topic"])
    assert prompts.kind == kind and prompts.cluster_column == "topic"
    assert (len(prompts.table), len(per_topic)) == (rows, topics)
    assert set(per_topic.values()) == {rows // topics}


@pytest.mark.parametrize("name", SETS)
def test_the_card_and_the_page_count_as_the_set_does(name: str) -> None:
    _, rows, topics = SETS[name]
    card = (PACKAGED / f"{name.removesuffix('-open')}.md").read_text()
    page = (Path(__file__).parents[2] / "site/guide/prompts.md").read_text()
    assert re.search(rf"^\| `{name}` \| \w+ \| {rows} \| {topics} \| ", page, re.M)
    assert f"| `{name}.jsonl` | {rows} | {topics} |" in card


@pytest.mark.parametrize("name", SETS)
def test_no_two_rows_say_the_same_and_no_text_is_a_fragment_of_the_web(name: str) -> None:
    texts = [row[column] for row in rows_of(name) for column in TEXTS[SETS[name][0]]]
    assert len({" ".join(words(text)) for text in texts}) == len(texts)
    assert [text for text in texts if UNNATURAL.search(text) or text != text.strip()] == []


@pytest.mark.parametrize("name", sorted(SETS.keys() - {"subject-number", "truth"}))
def test_rows_of_different_pairs_are_no_near_duplicates(name: str) -> None:
    column = "prompt" if SETS[name][0] == CONTRAST else TEXTS[SETS[name][0]][0]
    rows = [(row.get("pair", row["id"]), set(words(row[column]))) for row in rows_of(name)]
    near = [
        (one, other)
        for (one, a), (other, b) in combinations(rows, 2)
        if one != other and len(a & b) >= 0.7 * len(a | b)
    ]
    assert near == []


@pytest.mark.parametrize("name", MATCHED)
def test_each_pair_is_one_text_of_each_label_in_one_topic_of_about_equal_length(name: str) -> None:
    labels, at_most = MATCHED[name]
    column = TEXTS[SETS[name][0]][0]
    pairs = by(rows_of(name), "pair")
    assert 2 * len(pairs) == SETS[name][1]
    for pair in pairs.values():
        assert len(pair) == 2 and {row["label"] for row in pair} == labels
        assert len({row["topic"] for row in pair}) == 1
        lengths = [len(words(row[column])) for row in pair]
        assert max(lengths) - min(lengths) <= at_most, pair


def test_the_two_requests_of_a_pair_begin_and_end_alike() -> None:
    for pair in pairs_of("refusal"):
        harmful, harmless = pair["harmful"]["request"], pair["harmless"]["request"]
        assert harmful.split()[0] == harmless.split()[0]
        assert harmful[-1] == harmless[-1]


def test_harmful_and_harmless_requests_are_equally_long_on_the_whole() -> None:
    lengths = {
        label: np.mean([len(words(row["request"])) for row in rows])
        for label, rows in by(rows_of("refusal"), "label").items()
    }
    assert abs(lengths["harmful"] - lengths["harmless"]) < 0.2


@pytest.mark.parametrize(("name", "limit"), [("refusal", 112), ("truth", 60)])
def test_a_limit_leaves_topics_and_labels_even(name: str, limit: int) -> None:
    cells = Counter((row["topic"], row["label"]) for row in rows_of(name, limit))
    assert len(cells) == 2 * SETS[name][2] and set(cells.values()) == {2}


def test_the_answer_in_french_is_asked_for_in_one_sentence_more_and_nothing_else() -> None:
    for pair in pairs_of("language"):
        assert pair["french"]["request"] == pair["plain"]["request"] + " Answer in French."


@pytest.mark.parametrize("name", ["sentiment", "certainty"])
def test_contrasts_begin_with_their_prompt_and_go_on_about_equally_long(name: str) -> None:
    rows = rows_of(name)
    assert all(row[side].startswith(row["prompt"] + " ") for row in rows for side in ("positive", "negative"))
    ends = {
        side: [row[side].removeprefix(row["prompt"]) for row in rows] for side in ("positive", "negative")
    }
    more = [
        len(words(one)) - len(words(other))
        for one, other in zip(ends["positive"], ends["negative"], strict=True)
    ]
    assert max(map(abs, more)) <= 2 and abs(np.mean(more)) < 0.5
    # Each continuation stands once, on one side.
    assert len({*ends["positive"], *ends["negative"]}) == 2 * len(rows)


@pytest.mark.parametrize("name", ["sentiment", "certainty"])
def test_the_prompts_to_generate_from_are_of_the_same_topics_and_none_of_the_set(name: str) -> None:
    rows, open_ones = rows_of(name), rows_of(f"{name}-open")
    assert {row["topic"] for row in open_ones} == {row["topic"] for row in rows}
    assert not {row["request"] for row in open_ones} & {row["prompt"] for row in rows}


@pytest.mark.parametrize("name", SAME_WORDS)
def test_both_labels_have_the_same_words_within_each_topic(name: str) -> None:
    for topic in by(rows_of(name), "topic").values():
        one, other = (
            Counter(word for row in rows for word in words(row["text"]))
            for rows in by(topic, "label").values()
        )
        assert one == other


def test_the_number_of_the_subject_is_a_matter_of_order_alone() -> None:
    for pair in pairs_of("subject-number"):
        one, other = pair["singular"]["text"], pair["plural"]["text"]
        assert Counter(words(one)) == Counter(words(other))


def test_the_subject_is_the_first_noun_as_often_as_the_last_so_that_neithers_number_is_the_label() -> None:
    for topic in by(rows_of("subject-number"), "topic").values():
        first, second = topic[0]["topic"].split("-")
        for rows in by(topic, "label").values():
            at_front = 0
            for row in rows:
                nouns = re.findall(rf"\b(?:{first}|{second})(?:s|es|ren)?\b", row["text"])
                plural = [noun not in (first, second) for noun in nouns]
                assert sorted(plural) == [False, True], row["text"]
                at_front += plural[0] == (row["label"] == "plural")
            assert 2 * at_front == len(rows)


def test_every_text_of_a_word_has_it_once_in_both_senses() -> None:
    for row in rows_of("animal"):
        assert words(row["text"]).count(row["topic"]) == 1, row["text"]
        assert not {"animal", "animals", "bird", "birds"} & set(words(row["text"])), row["text"]


@pytest.mark.parametrize(("name", "at_most"), [("truth", 0.5), ("subject-number", 0.5), ("animal", 0.65)])
def test_words_alone_hardly_tell_the_label_in_topics_that_were_held_out(name: str, at_most: float) -> None:
    assert held_out_accuracy(rows_of(name)) <= at_most


def test_the_accuracy_of_words_alone_is_high_where_they_tell_the_label() -> None:
    rows = [
        {"text": f"{noun} {verb}", "label": verb, "topic": noun}
        for noun in ("tide", "price", "kite")
        for verb in ("rises", "falls")
    ]
    assert held_out_accuracy(rows) == 1


def held_out_accuracy(rows: Rows) -> float:
    """Accuracy of naive Bayes on the counts of words, each topic told by the others; a tie is half right."""
    in_texts = [Counter(words(row["text"])) for row in rows]
    vocabulary = sorted({word for found in in_texts for word in found})
    counts = np.array([[found[word] for word in vocabulary] for found in in_texts])
    topics = np.array([row["topic"] for row in rows])
    labels = [row["label"] for row in rows]
    second = np.array(labels) == max(labels)
    right = np.zeros(len(rows))
    for held_out in np.unique(topics):
        inside = topics == held_out
        # One added to each count (Laplace), so that a word of one label only does not decide by itself.
        no, yes = (counts[~inside & (second == side)].sum(0) + 1 for side in (False, True))
        score = counts[inside] @ (np.log(yes / yes.sum()) - np.log(no / no.sum()))
        tie = np.abs(score) < 1e-9
        right[inside] = np.where(tie, 0.5, (score > 0) == second[inside])
    return float(right.mean())
