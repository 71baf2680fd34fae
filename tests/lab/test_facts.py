"""Which prompts count as known, and what becomes of the others."""

from dataclasses import replace

import numpy as np
import pytest

from engine.data.prompts import PromptSet
from engine.errors import DataError
from engine.lab.facts import known_facts
from engine.lab.planted import planted_lab
from engine.spec.inputs import ANSWERS


@pytest.fixture
def lab():
    return planted_lab()


def with_wrong_answers(prompts: PromptSet, n: int) -> PromptSet:
    """The first n prompts ask for something the planted model does not say."""
    table = prompts.table.copy()
    table.loc[: n - 1, "answer"] = " Fact"
    return replace(prompts, table=table)


def test_unknown_facts_are_dropped_counted_and_named(lab):
    lab.prompts = with_wrong_answers(lab.prompts, 5)
    facts = lab.known_facts()
    told = facts.evidence().result()
    counts = {m.name: m.value for m in told.findings}
    assert counts == {
        "prompts_given": 32,
        "prompts_known": 27,
        "prompts_used": 27,
        "prompts_dropped": 5,
        "clusters_used": 2,
    }
    assert told.tables["dropped"].to_dict("records") == [
        {"reason": "the model does not know the answer", "prompts": 5}
    ]


def test_a_limit_leaves_known_prompts_unused(lab):
    facts = lab.known_facts(both_sides=True, per_relation=6)
    counts = {m.name: m.value for m in facts.evidence().result().findings}
    assert counts == {
        "prompts_given": 32,
        "prompts_known": 32,
        "prompts_used": 12,
        "prompts_dropped": 0,
        "clusters_used": 2,
    }


def test_both_sides_asks_the_corrupted_prompt_too(lab):
    table = lab.prompts.table.copy()
    table.loc[0, "wrong_answer"] = " Note"
    lab.prompts = PromptSet("planted", table, "", "")
    assert len(lab.known_facts()) == 32
    assert len(lab.known_facts(both_sides=True)) == 31


def test_where_nothing_is_known_the_error_says_so(lab):
    lab.prompts = with_wrong_answers(lab.prompts, 31)
    with pytest.raises(DataError, match="knows 1 of the 32 facts"):
        known_facts(lab.model, lab.tokenized())


def test_the_other_answer_is_another_one_of_the_same_relation(lab):
    facts = lab.known_facts()
    other = facts.other_answers()
    assert (other != facts.prompts.answer).all()
    by_relation = facts.table.groupby("relation").indices
    for rows in by_relation.values():
        assert set(other[rows].tolist()) <= set(facts.prompts.answer[rows].tolist())


def test_an_unrelated_prompt_shares_length_but_no_answer(lab):
    facts = lab.known_facts()
    rows, partners = facts.unrelated()
    p = facts.prompts
    assert len(rows) == 32
    assert all(facts.relations[a] != facts.relations[b] for a, b in zip(rows, partners, strict=True))
    assert (p.last[rows] == p.last[partners]).all()
    assert (p.answer[rows] != p.answer[partners]).all()
    assert (p.wrong_answer[rows] != p.answer[partners]).all()


def test_an_unrelated_prompt_is_of_the_same_relation_only_where_no_other_fits(lab):
    table = lab.prompts.table
    lab.prompts = replace(lab.prompts, table=table.assign(relation=["north", *["south"] * 31]))
    facts = lab.known_facts()
    rows, partners = facts.unrelated()
    alone = facts.relations.index("north")
    # Only the one fact of the other relation, where it has neither answer of the prompt.
    same = [facts.relations[a] == facts.relations[b] for a, b in zip(rows, partners, strict=True)]
    assert len(rows) == 32 and any(same)
    assert {int(b) for b, s in zip(partners, same, strict=True) if not s} - {alone} == {int(partners[alone])}


def test_the_halves_cover_every_prompt_once(lab):
    facts = lab.known_facts()
    ev = facts.evidence()
    choosing, measuring = facts.halves(ev)
    assert np.array_equal(measuring.rows, ~choosing.rows)
    assert measuring.measured("n", np.ones(len(facts))).n == facts.selecting.sum() == 16
    assert "1 of 2 clusters (column relation)" in measuring.measured("n", np.ones(len(facts))).chosen_on
    assert ev.measured("n", np.ones(len(facts))).chosen_on == ""


def test_no_relation_is_both_chosen_on_and_measured(lab):
    facts = lab.known_facts()
    relations = np.array(facts.relations)
    assert facts.clusters == facts.relations
    assert not set(relations[facts.selecting]) & set(relations[~facts.selecting])


def test_prompts_without_corrupted_ones_are_no_pairs(lab):
    table = lab.prompts.table.drop(columns=["corrupted", "corrupted_subject", "wrong_answer"])
    lab.prompts = replace(lab.prompts, table=table, kind=ANSWERS)
    facts = lab.known_facts()
    assert len(facts) == 32
    with pytest.raises(DataError, match="these prompts have no corrupted ones"):
        _ = facts.denoising
    with pytest.raises(DataError, match="these prompts have no corrupted ones"):
        lab.known_facts(both_sides=True)


def test_a_wrong_answer_from_another_prompt_and_the_controls_answer_are_two(lab):
    table = lab.prompts.table.drop(columns=["corrupted", "corrupted_subject", "wrong_answer"])
    lab.prompts = replace(lab.prompts, table=table, kind=ANSWERS)
    facts = lab.known_facts()
    differs = facts.other_answers() != facts.prompts.wrong_answer
    # Eight answers in two relations of four: seldom is one answer both.
    assert differs.float().mean() > 0.5
    assert bool((facts.other_answers() != facts.prompts.answer).all())
