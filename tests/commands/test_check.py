"""`engine check`: what needs a person is listed, and decides the exit status."""

from __future__ import annotations


def test_a_broken_sentence_needs_a_person(engine, project):
    engine("build")
    report = project / "investigations/planted/report.md"
    report.write_text(
        report.read_text().replace('"found-at-once", "contradicted"', '"found-at-once"')
        + "\nIt takes 7 blocks.\n"
    )
    answer = engine("check", "--json")
    assert answer.code == 1
    assert {c["kind"] for c in answer.json} >= {"broken-sentence", "typed-number"}
    assert engine("build").code == 0
    assert engine("build", "--strict").code == 1
