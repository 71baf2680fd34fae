"""What a template may say, and what each way of saying it wrongly is answered with."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from markdown import markdown

from engine.errors import TemplateError
from engine.evidence.printing import digits
from engine.evidence.result import Check
from engine.evidence.verdicts import Verdict
from engine.report.bibtex import read_bibtex
from engine.report.render import asked_for, check_template, render, render_headline
from engine.runs.ledger import DisplayItem

PATH = Path("report.md")


def text(ledger, template: str, **more) -> str:
    return render(ledger, template, PATH, target="text", **more).markdown


def site(ledger, template: str, **more) -> str:
    rendered = render(ledger, template, PATH, **more)
    return rendered.markdown + rendered.popovers


@pytest.mark.parametrize(
    ("template", "printed"),
    [
        ("{{ lens.final_rank }}", "{n} (95 % CI {low} to {high}, n = 120 prompts)"),
        ('{{ number("lens.final_rank") }}', "{n} (95 % CI {low} to {high}, n = 120 prompts)"),
        ('{{ sweep["seed=3"].n_kept }}', "120"),
        ('{{ number("sweep[seed=3].n_kept") }}', "120"),
        ('{{ number("patch-heads.n_kept") }}', "120"),
        ("{{ lens.n_kept }}", "120"),
        ("{{ lens.seed_spread }}", "{spread} (no interval, n = 5 seeds)"),
        ("{{ lens.final_rank.n }} {{ lens.final_rank.unit }}", "120 prompt"),
        ("{{ lens.final_rank.model }}", "tiny-llama"),
        ('{{ lens.n_kept.on("tiny-gpt2") }}', "120 [published]"),
        ('{{ number("lens.n_kept", model="tiny-gpt2") }}', "120 [published]"),
        ('{{ lens.final_rank.on("far-away") }}', "[not measured here]"),
        ('{{ lens.final_rank.on("far-away").value }}', "[not measured here]"),
        ("{{ bad.final_rank }}", "[withheld: a check failed]"),
        ("{% if lens.final_rank.value < lens.other_rank.value %}less{% endif %}", "less"),
        ('{% if number("lens.n_kept", model="far-away").value > 1 %}more{% else %}no{% endif %}', "no"),
        ("{% if bad.final_rank.measured %}shown{% else %}hidden{% endif %}", "hidden"),
        ('{{ literal("375") }}', "375"),
    ],
)  # fmt: skip
def test_ways_to_name_a_number(ledger, template: str, printed: str) -> None:
    ends = {k: digits(v, 9.1, 16.2) for k, v in {"n": 12.84, "low": 9.1, "high": 16.2}.items()}
    ends["spread"] = digits(0.41, None, None)
    assert text(ledger, template) == printed.format(**ends)


def test_percent_scales_value_and_interval(ledger) -> None:
    printed = text(ledger, "{{ lens.share_known | percent }}")
    assert printed.startswith("75") and " % (95 % CI 71" in printed and "to 79" in printed


def test_value_prints_the_digits_of_its_interval(ledger) -> None:
    number, value = text(ledger, "{{ lens.final_rank }}"), text(ledger, "{{ lens.final_rank.value }}")
    assert number.startswith(f"{value} (")


def test_control_is_the_number_beside(ledger) -> None:
    assert text(ledger, "{{ lens.final_rank.control }}") == text(ledger, "{{ lens.other_rank }}")


@pytest.mark.parametrize(
    ("template", "line", "problem", "near"),
    [
        ("a\n{{ lense.final_rank }}", 2, "'lense' is not defined", "lens"),
        ("{{ patch.n_kept }}", 1, "'patch' is not defined", ""),
        ("{{ lens.final_rnak }}", 1, "lens has no number 'final_rnak'", "final_rank"),
        ("{% if false %}\n{{ lens.final_rnak }}{% endif %}", 2, "no number 'final_rnak'", "final_rank"),
        ('x\n\n{{ number("lens.final_rnak") }}', 3, "no number 'final_rnak'", "final_rank"),
        ('{{ number("lenz.final_rank") }}', 1, "no experiment 'lenz'", "lens"),
        ('{{ number("final_rank") }}', 1, "'final_rank' names no measurement", ""),
        ('{{ sweep["seed=4"].n_kept }}', 1, "no experiment 'sweep[seed=4]'", "sweep[seed=3]"),
        ('{{ lens.n_kept.on("tiny-gpt") }}', 1, "no 'tiny-gpt'", "tiny-gpt2"),
        ('{{ lens.n_kpet.on("far-away") }}', 1, "no number 'n_kpet'", "n_kept"),
        ('{{ number("lens.n_kpet", model="far-away") }}', 1, "no 'n_kpet'", "n_kept"),
        ("{{ lens.n_kept.hihg }}", 1, "no 'hihg'", "high"),
        ("{{ lens.n_kept.control }}", 1, "names no control", ""),
        ("{{ lens }}", 1, "lens is an experiment, not a number", ""),
        ("a\nb {{ lens.share_known | precent }}", 2, "no filter 'precent'", "percent"),
        ("{% if 1 %}\n{% if 1 is evn %}{% endif %}{% endif %}", 2, "no test 'evn'", "even"),
        ('\n{% clam "rank-falls" %}x{% endclaim %}', 2, "no tag 'clam'", "claim"),
        ('{% claim "rank-fals" %}x{% endclaim %}', 1, "no 'rank-fals'", "rank-falls"),
        ('{% if 0 %}{% claim "rank-fals" %}x{% endclaim %}{% endif %}', 1, "no 'rank-fals'", "rank-falls"),
        ('{% claim "rank-falls", "suported" %}x{% endclaim %}', 1, "no 'suported'", "supported"),
        ('a\n{% claim "rank-falls" %}x\n\ny{% endclaim %}', 2, "one sentence", ""),
        ('{% claim "rank-falls" %}{% endclaim %}', 1, "one sentence", ""),
        ('{% claim "rank-falls" %}never closed', 1, "Unexpected end of template", ""),
        ('{{ chart("lens.by_layr") }}', 1, "no 'by_layr'", "by_layer"),
        ('{{ table("lens.per_promt") }}', 1, "no 'per_promt'", "per_prompt"),
        ('{{ table("lens.per_prompt", columns=["promt"]) }}', 1, "no 'promt'", "prompt"),
        ('{{ table("lens.per_prompt", rows=0) }}', 1, "rows counts the rows", ""),
        ("{{ how_mesured() }}", 1, "'how_mesured' is not defined", "how_measured"),
        ("text\n{{ lens.n_kept", 2, "unexpected end of template", ""),
        ("{{ 1 / 0 }}", 1, "division by zero", ""),
        ("{{ lens.n_kept() }}", 1, "not callable", ""),
        ("{{ lens.n_kept | round }}", 1, "no filter 'round'", ""),
        ("a [@nobody2020]\nb\n[@paulo2025; @pualo2024]", 1, "no reference 'nobody2020'", ""),
        ("a\nb [@pualo2025]", 2, "no reference 'pualo2025'", "paulo2025"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_an_error_with_line_and_nearest(ledger, template, line, problem, near) -> None:
    known = read_bibtex(b"@misc{paulo2025, author = {Paulo, G.}, year = 2025}")
    with pytest.raises(TemplateError) as caught:
        render(ledger, template, PATH, citations=known)
    assert caught.value.where == f"report.md:{line}"
    assert problem.lower() in str(caught.value).lower()
    assert (near or "") in caught.value.near or near == ""


def test_a_name_with_a_dash_is_a_name_and_with_spaces_a_difference(ledger) -> None:
    assert text(ledger, "{{ patch-heads.n_kept }}") == text(ledger, '{{ number("patch-heads.n_kept") }}')
    with pytest.raises(TemplateError) as caught:
        render(ledger, "{{ patch - heads.n_kept }}", PATH)
    assert "{{ patch-heads.NAME }}" in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "{{ lens.find }}",
        "{{ lens.n_kept.entry }}",
        "{{ lens.n_kept.measurement }}",
        "{{ lens.n_kept.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ number.__globals__ }}",
        "{{ chart.__self__ }}",
        "{{ [].append.__self__ }}",
        "{{ lens.n_kept | safe }}",
        "{{ '<b>' | safe }}",
        "{% include 'x' %}",
        "{% for i in range(10**9) %}{% endfor %}",
    ],
)
def test_the_sandbox_holds(ledger, template: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(ledger, template, PATH)
    assert caught.value.where.startswith("report.md")


def test_sentences_show_their_verdict_and_broken_ones_are_problems(ledger) -> None:
    template = (
        '{% claim "rank-falls" %}It falls.{% endclaim %}\n\n'
        '{% claim "mostly-known" %}It knows.{% endclaim %}\n'
        '{% claim "mostly-known", "contradicted" %}It does not.{% endclaim %}\n'
    )
    rendered = render(ledger, template, PATH)
    assert [(p.kind, p.where) for p in rendered.concerns] == [("broken-sentence", "report.md:3")]
    assert "measured contradicted: holds in 0.1 % of replicates" in rendered.concerns[0].message
    assert rendered.markdown.count('data-broken="true"') == 1
    assert ">broken: the text says supported, measured contradicted</button>" in rendered.markdown
    said = text(ledger, template).splitlines()
    assert said == [
        "It falls.",
        "",
        "It knows. [Hypothesis: The model knows most facts "
        "(broken: the text says supported, measured contradicted)]",
        "It does not. [Hypothesis: The model knows most facts (contradicted)]",
    ]


def test_what_was_not_measured_breaks_no_sentence(ledger) -> None:
    elsewhere = replace(ledger, verdicts={})
    rendered = render(elsewhere, '{% claim "rank-falls" %}It falls.{% endclaim %}', PATH)
    assert [p.kind for p in rendered.concerns] == ["uncited-claim"]
    assert 'data-verdict="unmeasured"' in rendered.markdown and "data-broken" not in rendered.markdown


def test_lint_and_uncited_claims_are_among_the_problems(ledger) -> None:
    rendered = render(ledger, '{% claim "rank-falls" %}From 375.{% endclaim %}', PATH)
    assert [(p.kind, p.where) for p in rendered.concerns] == [
        ("typed-number", "report.md:1"),
        ("uncited-claim", "report.md"),
    ]


def test_charts_and_tables_are_named_for_download(ledger) -> None:
    template = (
        '{{ chart("lens.by_layer") }} {{ table("lens.per_prompt", columns=["prompt", "answer"], rows=3) }}'
    )
    rendered = render(ledger, template, PATH)
    assert list(rendered.charts) == ["lens.by_layer"]
    assert list(rendered.tables) == ["lens.by_layer", "lens.per_prompt"]
    assert len(pd.read_csv(StringIO(rendered.tables["lens.per_prompt"]))) == 25
    assert 'data-spec="charts/lens.by_layer.json"' in rendered.markdown
    assert 'href="tables/lens.per_prompt.csv"' in rendered.markdown
    assert "| prompt | answer |" in rendered.markdown and "3 of 25 rows shown." in rendered.markdown


def test_charts_of_another_model_have_names_of_their_own(ledger) -> None:
    template = '{{ chart("lens.by_layer") }}{{ chart("lens.by_layer", model="tiny-gpt2") }}'
    assert list(render(ledger, template, PATH).charts) == ["lens.by_layer", "lens.by_layer-tiny-gpt2"]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ('chart("lens.by_layer", model="far-away")', "the hub cannot be reached"),
        ('table("lens.per_prompt", model="far-away")', "the hub cannot be reached"),
        ('chart("bad.by_layer")', "check padding failed"),
        ('table("bad.per_prompt")', "check padding failed"),
    ],
)
def test_what_cannot_be_shown_says_why(ledger, call: str, reason: str) -> None:
    rendered = render(ledger, f"{{{{ {call} }}}}", PATH)
    assert reason in rendered.markdown and not rendered.charts and not rendered.tables


def test_the_ledger_tells_where_how_and_again(ledger) -> None:
    said = text(ledger, "{{ where_it_holds() }}{{ how_measured() }}{{ repeat() }}")
    assert "| The model knows most facts. |" in said
    assert "| contradicted, 0.1 % | undetermined, 60 % | unmeasured |" in said
    assert "tiny-gpt2, mostly-known undetermined: lens.share\\_known \\> 0.5 is not supported" in said
    assert "Numbers measured here: " in said and "1 of 2 compared drifted" in said
    assert "Drift: lens.share\\_known on tiny-llama" in said
    assert "| bad | tiny-llama | one prompt alone equals" in said and "| failed |" in said
    assert "| lens.other\\_rank | tiny-llama | Another answer. | 375" in said
    assert "| bad.other" not in said
    assert "mech run --name fact-recall/lens --model tiny-llama" in said
    assert "holds: lens.final_rank < lens.other_rank" in said


def test_how_it_was_measured_names_the_hook_sites_that_were_read(ledger) -> None:
    said = text(ledger, "{{ how_measured() }}")
    assert "Hook site" not in said, "no family of this ledger reads one"
    entries = [
        replace(e, provenance=replace(e.provenance, asked={"hook_site": f"blocks.{at}.hook_resid_pre"}))
        for at, e in enumerate(ledger.entries)
        if e.provenance
    ]
    said = text(replace(ledger, entries=(*entries[:2], *ledger.entries[2:])), "{{ how_measured() }}")
    assert "| Experiment | Model | Hook site | State |" in said
    assert "| lens | tiny-llama | blocks.0.hook\\_resid\\_pre | measured |" in said
    assert "| lens | far-away | – | unmeasured" in said


def test_the_points_of_a_sweep_are_one_row_that_tells_the_worst_and_the_range(ledger) -> None:
    lens = next(e for e in ledger.entries if e.label == "lens" and e.model == ledger.primary)
    rank = lens.measurements["other_rank"]
    points = [
        replace(
            lens,
            experiment="many",
            provenance=replace(lens.provenance, seconds=700.0),
            point={"seed": seed},
            measurements={"other_rank": replace(rank, value=value)},
            checks=(Check("sums", seen, 1e-5, "Parts add up."),),
        )
        for seed, value, seen in ((0, 300.0, 2e-6), (1, 410.0, 3e-5), (2, 350.0, 1e-6))
    ]
    said = text(replace(ledger, entries=(*ledger.entries, *points[::2])), "{{ how_measured() }}")
    assert "| many\\[2 points\\].other\\_rank | tiny-llama | Another answer. | 300 to 350 |" in said
    assert "| many\\[2 points\\] | tiny-llama | measured | " in said and " | 1,400 | " in said
    assert "| many\\[2 points\\] | tiny-llama | Parts add up. | 2e-06 | 1e-05 | passed |" in said
    said = text(replace(ledger, entries=(*ledger.entries, *points)), "{{ how_measured() }}")
    assert "| many\\[3 points\\] | tiny-llama | Parts add up. | 3e-05 | 1e-05 | failed |" in said


def test_the_spec_is_copied_as_it_was_written(ledger, tmp_path) -> None:
    written = "# a comment\ntitle: x\n\nexperiments:\n  lens: {family: logit_lens}\n"
    (tmp_path / "spec.yaml").write_text(written)
    assert written in render(ledger, "{{ repeat() }}", tmp_path / "report.md", target="text").markdown


def test_citations_and_their_list(ledger, tmp_path) -> None:
    cited = '@article{a2019, author = "Abe, Di", title = {First}, journal={J}, year = {2019}}'
    (tmp_path / "references.bib").write_text(
        "@misc{b2020, author={Zed, Ann and Yu, Bo and Xi, Cy}, title={On <b>}, year=2020, url={https://x.org/a_b}}\n"
        f"{cited}\n@misc{{unused, title={{U}}}}"
    )
    template = "So [@b2020; @a2019], `[@code]` and {{ literal('[@k]') }}."
    printed = render(ledger, template, tmp_path / "report.md", target="text").markdown
    assert printed.startswith("So (Zed et al. 2020; Abe 2019), `[@code]` and \\[\\@k\\].\n\n## References")
    assert printed.index("Di Abe. First. J, 2019.") < printed.index("Ann Zed, Bo Yu, and Cy Xi. On")
    assert "unused" not in printed
    page = render(ledger, template, tmp_path / "report.md").markdown
    assert (
        'href="#ref-b2020">Zed et al. 2020</a>' in page
        and '<li id="ref-b2020">' in page
        and '<a href="https&#x3A;&#x2F;&#x2F;x.org&#x2F;a&#x5F;b">' in page
        and "<em>J</em>" in page
        and "On &#x3C;b&#x3E;" in page
    )


@pytest.mark.parametrize(
    ("template", "printed"),
    [
        ("As shown [@a2019, p. 12].", "As shown (Abe 2019, p. 12)."),
        ("[see @a2019; -@b2020, chap. 3]", "(see Abe 2019; 2020, chap. 3)"),
        ("@a2019 [p. 3] says", "Abe (2019, p. 3) says"),
        ("@a2019 and -@b2020 say", "Abe (2019) and (2020) say"),
        ('{{ cite("a2019", "b2020") }}', "(Abe 2019; Zed 2020)"),
        ("{% claim 'rank-falls' %}As @a2019 found in $x_1$.{% endclaim %}", "As Abe (2019) found in $x_1$."),
        ("Mail me@example.org, or \\@me and `@me`.", "Mail me@example.org, or \\@me and `@me`."),
    ],
)
def test_ways_to_cite(ledger, template: str, printed: str) -> None:
    known = read_bibtex(
        b"@misc{a2019, author = {Abe, Di}, year = 2019}@misc{b2020, author = {Zed}, year = 2020}"
    )
    assert text(ledger, template, citations=known).partition("\n\n## References")[0] == printed


def test_an_unknown_work_is_found_where_nothing_is_printed_too(ledger) -> None:
    known = "a\n{% if false %}[see @pualo2025]{% endif %}\n{{ cite('k', 'nobody') }}\n@nobody2 [p. 3]"
    wrong = check_template(ledger, known, PATH)
    assert [(error.seen, error.where) for error in wrong] == [
        ("pualo2025", "report.md:2"),
        ("k", "report.md:3"),
        ("nobody", "report.md:3"),
        ("nobody2", "report.md:4"),
    ]


def test_an_entry_that_cannot_be_read_is_told_and_stops_only_who_cites_it(ledger, tmp_path) -> None:
    path = tmp_path / "report.md"
    path.with_name("references.bib").write_text("@misc{good, title = {G}}\n@misc{bad, title {B}}\n")
    told = [c for c in render(ledger, "See [@good].", path).concerns if c.kind == "unread-reference"]
    assert [concern.where for concern in told] == [f"{tmp_path / 'references.bib'}:2"]
    with pytest.raises(TemplateError) as caught:
        render(ledger, "See [@good; @bad].", path)
    assert caught.value.where == f"{tmp_path / 'references.bib'}:2"
    assert caught.value.named_at == f"{path}:1"


def test_the_list_of_references_stands_where_it_is_asked_for(ledger) -> None:
    known = read_bibtex(b"@misc{k, author = {Abe, Di}, year = 2019}")
    printed = text(ledger, "{{ references() }}\n\nlater [@k]", citations=known)
    assert (
        printed.index("Di Abe. 2019.") < printed.index("later (Abe 2019)") and "## References" not in printed
    )


def test_the_headline_is_plain_text(ledger) -> None:
    headline = render(ledger, "", PATH).headline
    assert headline == render_headline(ledger, PATH)
    assert headline == "The rank falls to 13 (another answer: 375) on 120 prompts."


def test_a_broken_headline_says_that_it_is_the_headline(ledger) -> None:
    broken = ledger.spec.model_copy(update={"headline": "{{ lens.x }}"})
    with pytest.raises(TemplateError, match=r"spec.yaml \(headline\):1: lens has no number 'x'"):
        render_headline(replace(ledger, spec=broken), PATH)


def test_the_headline_is_linted_too(ledger) -> None:
    typed = ledger.spec.model_copy(update={"headline": "The rank falls to 12.", "claims": {}})
    concerns = render(replace(ledger, spec=typed), "", PATH).concerns
    assert [(p.kind, p.where) for p in concerns] == [("typed-number", "spec.yaml (headline):1")]


def test_windows_line_ends_keep_lines(ledger) -> None:
    with pytest.raises(TemplateError) as caught:
        render(ledger, "a\r\nb\r\n{{ lens.x }}\r\n", PATH)
    assert caught.value.where == "report.md:3"


ASKING = """\
{% set other = "tiny-gpt2" %}
{{ chart("lens.by_layer", model=other) }} {{ table("sweep[seed=3].per_prompt", rows=2) }}
{% if lens.final_rank.value > 1e6 %}{{ chart("patch-heads.each_prompt") }}{% endif %}
{{ table("bad.per_prompt") }}
"""


def test_what_a_template_asks_for_is_known_without_drawing_it(ledger, monkeypatch) -> None:
    monkeypatch.setattr("engine.report.render.draw", None)
    assert asked_for(ledger, ASKING, PATH) == {
        DisplayItem("lens", "tiny-gpt2", "figures", "by_layer"),
        DisplayItem("sweep[seed=3]", "tiny-llama", "tables", "per_prompt"),
        DisplayItem(
            "patch-heads", "tiny-llama", "figures", "each_prompt"
        ),  # also where it is not shown today
        DisplayItem("bad", "tiny-llama", "tables", "per_prompt"),
    }
    assert asked_for(ledger, "Only {{ lens.n_kept }}.", PATH) == set()


def test_a_chart_whose_table_was_not_published_is_a_notice_and_no_mistake_of_the_template(ledger) -> None:
    first, *rest = ledger.entries
    why = "left out: the text does not show it"
    left_out = {("tables", "per_prompt"): why, ("figures", "each_prompt"): why}
    tables, figures = ({"by_layer": parts["by_layer"]} for parts in (first.tables, first.figures))
    thin = replace(
        first,
        state="published",
        reason="never measured here",
        tables=tables,
        figures=figures,
        left_out=left_out,
    )
    poor = replace(ledger, entries=(thin, *rest))
    for asked in ('{{ chart("lens.each_prompt") }}', '{{ table("lens.per_prompt") }}'):
        said = text(poor, asked)
        assert "never measured here" in said
        assert why in said
    assert text(poor, '{{ table("lens.by_layer") }}') == text(ledger, '{{ table("lens.by_layer") }}')
    with pytest.raises(TemplateError, match="each_prompts"):
        text(poor, '{{ chart("lens.each_prompts") }}')


def test_a_sentence_that_the_evidence_does_not_decide_is_told_and_is_not_broken(ledger):
    verdict = Verdict("mostly-known", "undetermined", 0.6, "a control is not supported")
    ledger = replace(ledger, verdicts={"tiny-llama": {"mostly-known": verdict}})
    template = '{% claim "mostly-known" %}It knows.{% endclaim %}'
    rendered = render(ledger, template, PATH)
    (concern,) = [c for c in rendered.concerns if "sentence" in c.kind]
    assert (concern.kind, concern.where) == ("undecided-sentence", "report.md:1")
    assert "measured undetermined: holds in 60 %" in concern.message
    assert "data-broken" not in rendered.markdown
    assert ">undetermined: the text says supported</button>" in rendered.markdown
    assert text(ledger, template).strip() == (
        "It knows. [Hypothesis: The model knows most facts (undetermined: the text says supported)]"
    )
    said = render(ledger, template.replace(" %}It", ', "undetermined" %}It'), PATH)
    assert not [c for c in said.concerns if "sentence" in c.kind]
    assert ">undetermined</button>" in said.markdown


@pytest.mark.parametrize(
    ("asserted", "broken"), [("", True), (', "found here"', True), (', "not found here"', False)]
)
def test_a_sentence_says_whether_what_was_said_of_another_model_is_found_here(ledger, asserted, broken):
    spec = ledger.spec
    claims = {"mostly-known": spec.claims["mostly-known"].model_copy(update={"about": "gpt2"})}
    verdicts = {"tiny-llama": {"mostly-known": Verdict("mostly-known", "not found here", 0.001)}}
    ledger = replace(ledger, spec=spec.model_copy(update={"claims": claims}), verdicts=verdicts)
    rendered = render(ledger, f'{{% claim "mostly-known"{asserted} %}}It is.{{% endclaim %}}', PATH)
    assert [c.kind for c in rendered.concerns] == ["broken-sentence"] * broken
    assert 'class="mech-verdict mech-not-found-here"' in rendered.markdown
    assert ("the text says found here, measured not found here" in rendered.markdown) == broken
    assert "<dt>About</dt><dd>gpt2</dd>" in rendered.popovers


def test_no_sentence_has_what_was_said_of_another_model_contradicted(ledger):
    claims = {"mostly-known": ledger.spec.claims["mostly-known"].model_copy(update={"about": "gpt2"})}
    ledger = replace(ledger, spec=ledger.spec.model_copy(update={"claims": claims}))
    with pytest.raises(TemplateError, match="the claim tag has no 'contradicted'") as error:
        render(ledger, '{% claim "mostly-known", "contradicted" %}No.{% endclaim %}', PATH)
    assert "not found here" in error.value.expected


def test_a_claim_across_choices_is_drawn_as_a_specification_curve(across) -> None:
    rendered = render(across, '{{ specification_curve("rank-falls") }}', PATH)
    assert (
        "The choice of k changes the verdict: it holds in 0 of 1 with 1, in 1 of 1 with 2."
        in rendered.markdown
    )
    assert 'data-spec="charts/curve-rank-falls.json"' in rendered.markdown
    assert "lens.final_rank - lens.other_rank" in rendered.charts["curve-rank-falls"]
    assert "lens.k" in rendered.tables["curve-rank-falls"]


def test_a_curve_that_the_text_does_not_draw_stands_under_where_it_holds(across) -> None:
    alone = render(across, "{{ where_it_holds() }}", PATH).markdown
    both = render(across, '{{ specification_curve("rank-falls") }}\n\n{{ where_it_holds() }}', PATH).markdown
    assert alone.count("data-spec") == both.count("data-spec") == 1


def test_only_a_claim_with_choices_has_a_curve(ledger, across) -> None:
    with pytest.raises(TemplateError, match="claim 'rank-falls' names no choices"):
        render(ledger, '{{ specification_curve("rank-falls") }}', PATH)
    with pytest.raises(TemplateError, match="no 'rank-fall'"):
        render(across, '{{ specification_curve("rank-fall") }}', PATH)


def test_a_section_under_a_heading_with_an_id_stays_where_it_is(ledger) -> None:
    template = "## What we found {#found}\n\nHere {{ lens.n_kept }}.\n\n{# a note #}\n## Afterwards\n\nEnd."
    printed = text(ledger, template)
    assert "## What we found {#found}\n\nHere 120.\n\n\n## Afterwards\n\nEnd." in printed


def test_a_comment_that_takes_text_with_it_stops_the_report_with_its_line(ledger) -> None:
    for check in (lambda t: render(ledger, t, PATH), lambda t: raise_first(check_template(ledger, t, PATH))):
        with pytest.raises(TemplateError, match="comment") as caught:
            check("## A {# a }\n\nLost.\n\n{# note #}\nB")
        assert caught.value.where == "report.md:1"


def raise_first(errors: list) -> None:
    raise errors[0]


def test_formulas_are_mathml_on_the_site_and_tex_in_text(ledger) -> None:
    template = "In $x_{i}$ of {{ lens.n_kept }}\n\n$$\n\\sum_i {{a}}\n$$\n"
    assert text(ledger, template) == "In $x_{i}$ of 120\n\n$$\n\\sum_i {{a}}\n$$\n"
    printed = site(ledger, template)
    assert '<span class="mech-formula"><math display="inline"' in printed
    assert '<span class="mech-formula mech-display"><math display="block"' in printed


@pytest.mark.parametrize("before", ["a\n\n", "a\n\n{% if false %}\n"])
def test_a_formula_that_is_no_tex_is_an_error_with_its_line_and_the_nearest(ledger, before: str) -> None:
    template = f"{before}$\\alhpa$" + ("{% endif %}" if "if" in before else "")
    with pytest.raises(TemplateError) as caught:
        render(ledger, template, PATH)
    assert caught.value.where == f"report.md:{before.count(chr(10)) + 1}"
    assert "\\alpha" in caught.value.near


def test_a_report_with_front_matter_is_refused_and_one_with_a_byte_order_mark_is_not(ledger) -> None:
    with pytest.raises(TemplateError, match="no front matter"):
        render(ledger, "---\ntitle: T\n---\n\nText.", PATH)
    assert "front matter" in str(check_template(ledger, "---\ntitle: T\n---\n\nText.", PATH)[0])
    assert text(ledger, "\ufeffText {{ lens.n_kept }}.") == "Text 120."


def test_a_number_alone_is_no_formula(ledger) -> None:
    typed = [p.message for p in render(ledger, "$43.2\\%$ and $x = 2$", PATH).concerns]
    assert len([message for message in typed if "43.2" in message]) == 1
    assert not [message for message in typed if "'2'" in message]


@pytest.mark.parametrize("block", ['chart("lens.by_layer")', 'table("lens.per_prompt", rows=2)', "repeat()"])
def test_a_block_in_a_note_stays_in_the_note(ledger, block: str) -> None:
    template = f'!!! note "In"\n    Before.\n\n    {{{{ {block} }}}}\n\n    Still in.\n\nOut.'
    printed = render(ledger, template, PATH).markdown
    extensions = ["admonition", "attr_list", "md_in_html", "tables"]
    page = markdown(printed, extensions=extensions)
    note = page[: page.index("<p>Out.</p>")]
    assert note.rstrip().endswith("<p>Still in.</p>\n</div>") and "<p>Before.</p>" in note
    assert "&lt;" not in note.replace("&lt;script", "") or block == "repeat()"
    assert "\n    " in text(ledger, template)


def test_a_chart_in_a_row_of_a_table_is_an_error(ledger) -> None:
    with pytest.raises(TemplateError, match="one line only"):
        render(ledger, '| a | {{ chart("lens.by_layer") }} |\n|---|---|\n', PATH)
