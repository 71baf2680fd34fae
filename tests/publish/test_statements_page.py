"""Published statements, tested: each with source, model, stand-in, numbers, verdict and command."""

from __future__ import annotations

import html
from dataclasses import asdict, replace
from pathlib import Path

from engine.evidence.verdicts import Verdict
from engine.publish.mentions import mentions_from, mentions_of, users_of
from engine.publish.statements_page import statements_of, statements_page, wrong_sources
from engine.runs.ledger import Ledger
from engine.spec.models import PublishedStatement
from tests.publish import made_up

BIB = "@misc{doe2020, author={Doe, Jane}, title={On Ranks}, year={2020}, url={https://example.org/ranks}}\n"


def stated(tmp_path: Path, source: str = "@doe2020, table 2", **published) -> Ledger:
    """The made-up ledger, its first claim a published statement about a model that cannot be had."""
    (tmp_path / "references.bib").write_text(BIB)
    made = made_up.ledger()
    claims = dict(made.spec.claims)
    told = PublishedStatement(source=source, says="The rank falls in far-away.", **published)
    claims["rank-falls"] = claims["rank-falls"].model_copy(update={"about": "far-away", "published": told})
    verdicts = {
        model: {**found, "rank-falls": Verdict("rank-falls", "found here", 0.99)}
        for model, found in made.verdicts.items()
        if model != "far-away"
    }
    return replace(made, spec=made.spec.model_copy(update={"claims": claims}), verdicts=verdicts)


def test_a_statement_has_its_source_model_stand_in_numbers_and_command(tmp_path: Path) -> None:
    (statement,) = statements_of(stated(tmp_path), tmp_path)
    assert (statement.of, statement.founding) == ("far-away", False)
    assert 'href="https&#x3A;' in statement.source or "https://example.org/ranks" in html.unescape(
        statement.source
    )
    assert "Doe 2020" in statement.source and "table 2" in statement.source
    assert [row[0] for row in statement.results] == ["tiny-llama", "tiny-gpt2"]
    measured = html.unescape(statement.results[0][1])
    assert "<code>lens.final_rank</code> 13 ranks (95\xa0% CI 9 to 16, n = 120 prompts)" in measured
    assert "control <code>other_rank</code> 375 (95\xa0% CI 350 to 401" in measured
    assert "published and not measured here" in statement.results[1][1]
    assert "found here" in statement.results[0][2]
    assert statement.command == "engine build fact-recall --model far-away --budget all"


def test_a_statement_of_a_model_that_the_spec_does_not_name_says_what_is_missing(tmp_path: Path) -> None:
    (statement,) = statements_of(stated(tmp_path, of="GPT-9"), tmp_path)
    # `about` names a model of the spec, and that is what can be measured.
    assert (statement.of, statement.command[:13]) == ("GPT-9", "engine build ")
    other = replace(statement, command="")
    assert "does not name GPT-9 as a model of the hub" in statements_page([other])


def test_founding_statements_stand_first_and_all_stand_in_the_table_above(tmp_path: Path) -> None:
    (plain,) = statements_of(stated(tmp_path), tmp_path)
    founding = replace(plain, founding=True, statement="The founding one.")
    page = statements_page([plain, founding])
    assert page.index("## What this platform was built to test") < page.index("## Other published statements")
    assert page.index("<td>The founding one.<br>") < page.index(f"<td>{plain.statement}<br>")


def test_claims_without_a_statement_are_not_on_the_page() -> None:
    assert statements_of(made_up.ledger(), Path("nowhere")) == []
    assert "No claim names a published statement yet." in statements_page([])


def test_a_source_that_is_in_no_bibliography_is_told_with_the_nearest(tmp_path: Path) -> None:
    assert wrong_sources(stated(tmp_path), tmp_path) == []
    assert wrong_sources(stated(tmp_path, source="stated without a paper"), tmp_path) == []
    (concern,) = wrong_sources(stated(tmp_path, source="@doe2021, p. 3"), tmp_path)
    assert concern.kind == "unknown-source"
    assert "no entry 'doe2021'; nearest: doe2020" in concern.message
    assert concern.where.endswith("claims.rank-falls.published.source")
    (statement,) = statements_of(stated(tmp_path, source="@doe2021"), tmp_path)
    assert "doe2021" in statement.source


def test_an_unmeasured_statement_says_that_there_is_nothing_yet(tmp_path: Path) -> None:
    made = stated(tmp_path)
    gone = {
        "state": "unmeasured",
        "reason": "the hub cannot be reached",
        "measurements": {},
        "provenance": None,
    }
    none = replace(made, verdicts={}, entries=tuple(replace(entry, **gone) for entry in made.entries))
    (statement,) = statements_of(none, tmp_path)
    assert [(row[0], row[1]) for row in statement.results] == [("tiny-llama", "nothing yet")]


def test_mentions_survive_as_plain_data_and_tell_who_uses_a_family(tmp_path: Path) -> None:
    made = stated(tmp_path)
    data = mentions_of(made, tmp_path)
    back = mentions_from(data)
    assert [asdict(s) for s in back.statements] == data["statements"]
    users = users_of(["logit_lens", "sae_stability"], {"fact-recall": back})
    assert users == {"logit_lens": [("fact-recall", made_up.TITLE, 1)], "sae_stability": []}
