import html
from dataclasses import replace
from typing import get_args

import pytest
from markdown import markdown

from engine import families
from engine.families import Declaration
from engine.publish.reference import (
    PROMPTS,
    calibrations_page,
    commands_page,
    family_page_in_use,
    family_pages,
    spec_page,
)
from engine.spec.family_params import FamilyParams
from engine.spec.inputs import CHAT, Inputs, PromptKind
from engine.spec.models import Claim, CorpusChoice, Experiment, PromptChoice, Spec
from tests.publish import made_up


def test_a_command_has_its_usage_options_and_example() -> None:
    page = commands_page(made_up.command_line())
    assert (
        "## build\n\nMeasure what is stale and build the site.\n\n```console\nengine build [OPTIONS]" in page
    )
    assert "| `--budget` | `10m` | Time to measure. |" in page
    assert "Example:\n\n```console\nengine build --budget 5m\n```" in page
    assert "engine status [SLUG]" in page


def test_every_command_of_the_program_has_an_example() -> None:
    from engine.cli import app

    page = commands_page(app)
    assert page.count("\n## ") == page.count("\nExample:\n") >= 12
    assert "\n## models get\n" in page
    assert "\b" not in page


def test_a_family_tells_its_method_and_parameters() -> None:
    pages = family_pages(made_up.families())
    page = markdown(pages["reference/families/logit_lens.md"], extensions=["tables"])
    assert "<li>Compare <code>a | b</code> with &lt;another&gt;.</li>" in page
    assert "<td><code>list[int] | None</code></td>" in page
    assert '<td><code>Literal["topk", "batchtopk"]</code></td>' in page
    assert "<td>The layers to look at; all of them when left out.</td>" in page
    assert "<td>required</td>" in page
    assert "<td><code>0.5</code></td>" in page
    assert "[`logit_lens`](logit_lens.md)" in pages["reference/families/index.md"]


def test_parameters_that_families_share_come_after_a_familys_own() -> None:
    page = family_pages(made_up.families())["reference/families/logit_lens.md"]
    keys = [line.split("`")[1] for line in page.partition("## Parameters")[2].splitlines() if "| `" in line]
    assert keys == ["layers", "kind", "site", "depth", "everywhere", "seed"]


def test_a_family_says_what_it_reads() -> None:
    pages = family_pages(made_up.families())
    lens = pages["reference/families/logit_lens.md"]
    assert "| `prompts` | Prompts of the kind pairs: a clean and a corrupted prompt" in lens
    assert "`corpus`" not in lens
    patching = pages["reference/families/circuit_patching.md"]
    for key in (
        "prompts",
        "corpus",
        "hook_site",
        "uses: {saes: ...}",
        "parameters: {depth: ...}",
        "parameters: {site: ...}",
    ):
        assert f"| `{key}` |" in patching, key
    swept = "[`logit_lens`](logit_lens.md), swept over `seed` alone, two values or more."
    assert f"{swept} Its corpus and hook site are read here too" in patching
    assert "[`logit_lens`](logit_lens.md), a single run." in patching
    given = {"sae": Declaration("A dictionary.", Inputs(coder_parameters=("coder",)), FamilyParams)}
    page = family_pages(given)["reference/families/sae.md"]
    assert "| `parameters: {coder: PATH}` | A dictionary trained elsewhere" in page
    given = {"refusal": Declaration("A control.", Inputs(prompt_parameters={"known": CHAT}), FamilyParams)}
    page = family_pages(given)["reference/families/refusal.md"]
    assert "| `parameters: {known: NAME}` | Further prompts of the kind chat: requests" in page
    nothing = {"lens": Declaration("A lens.", Inputs(), FamilyParams)}
    assert (
        "## What it reads\n\nNothing but the model.\n\n## Parameters\n\nNone."
        in (family_pages(nothing)["reference/families/lens.md"])
    )


def test_every_kind_of_prompts_is_told() -> None:
    assert set(PROMPTS) == set(get_args(PromptKind))


def test_every_parameter_of_every_family_is_described() -> None:
    declared = {name: families.declaration(name) for name in families.names()}
    for name, page in family_pages(declared).items():
        for line in page.splitlines():
            assert not line.endswith("|  |"), f"{name}: {line}"
    rows = family_pages(declared)["reference/families/polysemanticity_sae.md"]
    for inherited in ("seed", "n_features", "epochs", "context_tokens"):
        assert f"\n| `{inherited}` | " in rows


@pytest.mark.parametrize("part", [Spec, Experiment, PromptChoice, CorpusChoice, Claim])
def test_every_key_of_a_spec_is_described(part: type) -> None:
    rows = spec_page().splitlines()
    for name in part.model_fields:
        described = [row for row in rows if row.startswith(f"| `{name}` |")]
        assert described and all(not row.endswith("|  |") for row in described), name


def test_what_may_be_written_for_a_key_is_told_in_plain_types() -> None:
    page = spec_page()
    assert "| `title` | `str` | required |" in page
    assert "| `prompts` | `str | PromptChoice | None` | `None` |" in page
    assert "| `sweep` | `dict[str, list[bool | int | float | str]]` | `{}` |" in page
    assert '| `dtype` | `Literal["float32", "bfloat16"]` | `"float32"` |' in page


def test_calibrations_say_what_was_expected_and_seen() -> None:
    page = calibrations_page(made_up.calibrations())
    assert "| 1 within 0.1 | 0.4 | **failed** |" in page
    assert "| 0 within 1e-5 | 2e-06 | passed |" in page
    assert "No calibration has been run here yet." in calibrations_page({"logit_lens": []})


def test_pitfalls_stand_under_a_heading_of_their_own_and_a_family_without_them_has_none() -> None:
    known = made_up.families()
    name = next(iter(known))
    docstring = f"{known[name].docstring}\n\nPitfalls:\n\n- It misleads <often> (Author 2020).\n"
    told = family_pages(known | {name: replace(known[name], docstring=docstring)})
    page = markdown(told[f"reference/families/{name}.md"])
    assert "<h2>Pitfalls</h2>\n<ul>\n<li>It misleads &lt;often&gt; (Author 2020).</li>" in page
    assert "Pitfalls:" not in page
    assert "Pitfalls" not in family_pages(known)[f"reference/families/{name}.md"]


def test_a_familys_page_has_its_calibrations_and_who_uses_it() -> None:
    right, *_ = made_up.calibrations()["logit_lens"]
    text = family_page_in_use("# logit_lens\n", [right], [("fact-recall", "How <so>?", 2)])
    page = html.unescape(markdown(text, extensions=["tables"]))
    assert "<td>passed</td>" in page
    assert '<a href="../../investigations/fact-recall/index.md">How <so>?</a> (2 experiments)' in page
    assert "<so>" not in text
    empty = family_page_in_use("# logit_lens\n", [], [])
    assert "None has been run here yet." in empty and "No investigation uses it yet." in empty


def test_the_site_tells_on_each_familys_page_which_reports_use_it(project) -> None:
    files = made_up.files(project, made_up.report(project))
    assert f"[{made_up.TITLE}](../../investigations/fact-recall/index.md)" in str(
        files["reference/families/circuit_patching.md"]
    )
    assert "replication/fact-recall.md" in files and "published-statements/index.md" in files
