from pathlib import Path

import pytest
from markdown import markdown

from engine.publish.pages import ENGINE
from engine.publish.reference import calibrations_page, commands_page, family_pages, spec_page
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


def test_a_family_is_read_without_importing_it(tmp_path: Path) -> None:
    pages = family_pages(made_up.families(tmp_path))
    page = markdown(pages["reference/families/logit_lens.md"], extensions=["tables"])
    assert "<li>Compare <code>a | b</code> with &lt;another&gt;.</li>" in page
    assert "<td><code>list[int] | None</code></td>" in page
    assert "<td>The layers to look at; all of them when left out.</td>" in page
    assert "<td>required</td>" in page
    assert "<td><code>0.5</code></td>" in page
    assert "[`logit_lens`](logit_lens.md)" in pages["reference/families/index.md"]


@pytest.mark.parametrize("part", [Spec, Experiment, PromptChoice, CorpusChoice, Claim])
def test_every_key_of_a_spec_is_described(part: type) -> None:
    rows = spec_page(ENGINE / "spec" / "models.py").splitlines()
    for name in part.model_fields:
        described = [row for row in rows if row.startswith(f"| `{name}` |")]
        assert described and all(not row.endswith("|  |") for row in described), name


def test_calibrations_say_what_was_expected_and_seen() -> None:
    page = calibrations_page(made_up.calibrations())
    assert "| 1 within 0.1 | 0.4 | **failed** |" in page
    assert "| 0 within 1e-5 | 2e-06 | passed |" in page
    assert "No calibration has been run here yet." in calibrations_page({"logit_lens": []})
