"""What is wrong in one investigation leaves the others standing."""

from __future__ import annotations

from engine.commands.reports import concerns, print_reports, wrong_templates
from tests.runs.toy import Toy


def test_a_claim_on_a_number_that_is_not_there_leaves_the_other_investigations_standing(toy: Toy) -> None:
    toy.spec("first", claims={"more": {"holds": "count.scores > 1"}}, count={})
    toy.spec("second", claims={"more": {"holds": "count.score > 1"}}, count={})
    for slug in ("first", "second"):
        toy.write(f"investigations/{slug}/report.md", "The score is {{ count.score }}.\n")
    toy.build()
    plan = toy.plan()
    with toy.store() as store:
        reports = {report.slug: report for report in print_reports(plan, store)}
        (told,) = wrong_templates(plan, store)
    assert "count has no number 'scores'" in str(told) and "nearest" in str(told)
    assert str(reports["first"].rendered.error) == str(told)
    assert "cannot be printed" in reports["first"].rendered.markdown
    assert reports["second"].rendered.error is None
    assert "The score is" in reports["second"].rendered.markdown
    found = [(concern.kind, concern.where) for concern in concerns([reports["first"]], {})]
    assert [kind for kind, _ in found] == ["broken-claim"]
    assert found[0][1].endswith("first/spec.yaml: claims.more")
