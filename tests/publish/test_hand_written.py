"""What the hand-written pages tell a reader to type works as it stands."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from engine.report.render import render
from engine.runs.sources import Families
from engine.spec.load import load_spec
from engine.spec.models import Spec
from tests.publish import made_up

SITE = made_up.REPOSITORY / "site"
PAGES = [
    SITE / "home.md",
    SITE / "getting-started.md",
    SITE / "reading-the-evidence/index.md",
    SITE / "scale.md",
    SITE / "guide/dictionaries.md",
    SITE / "guide/papers.md",
]
GUIDE = (SITE / "getting-started.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_command_in_the_text_exists(page: Path) -> None:
    from engine.cli import app

    commands = vars(get_command(app))["commands"]
    written = re.findall(r"(?:^|`)(?:engine|mech) ([a-z][^`#\n]*)", page.read_text(), re.M)
    for name, *rest in (line.split() for line in written):
        command = commands[name]
        # `sae import` has options of its own.
        command = getattr(command, "commands", {}).get(rest[0], command) if rest else command
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options


def test_who_wants_to_measure_is_told_first_how_to_get_it() -> None:
    project = tomllib.loads((made_up.REPOSITORY / "pyproject.toml").read_text())["project"]
    owner, name = re.findall(r"https://([\w-]+)\.github\.io/([\w-]+)/", project["urls"]["Documentation"])[0]
    first = re.findall(r"```console\n(.*?)\n", GUIDE)[0]
    assert first == f"git clone https://github.com/{owner}/{name}"
    assert GUIDE.index(first) < GUIDE.index("You need")
    assert "(getting-started.md)" in (SITE / "home.md").read_text().split("Measure them yourself]")[1]


def block(title: str) -> str:
    found = re.search(rf'title="[^"]*{title}"\n(.*?)\n```', GUIDE, re.S)
    assert found
    return found[1]


def test_the_investigation_of_the_guide_names_what_there_is() -> None:
    shipped = made_up.REPOSITORY / "investigations/fact-recall"
    known = "".join((shipped / name).read_text() for name in ("spec.yaml", "report.md"))
    cited = set(re.findall(r"\blens\.\w+", block("spec.yaml") + block("report.md")))
    assert cited == {name for name in cited if re.search(rf"\b{name}\b", known)}


def test_the_investigation_of_the_guide_renders(tmp_path: Path) -> None:
    spec = Spec.model_validate(yaml.safe_load(block("spec.yaml")))
    lens = made_up.lens(spec.models[0])
    depth = replace(lens.measurements["share_known"], name="commit_depth")
    figures = {"rank": lens.figures["by_layer"]}
    lens = replace(lens, measurements={"commit_depth": depth}, figures=figures)
    ledger = replace(made_up.ledger(), spec=spec, entries=(lens,))
    rendered = render(ledger, block("report.md"), tmp_path / "report.md")
    assert set(rendered.charts) == {"lens.rank"}
    assert "0.75" in rendered.headline


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("dictionaries", "spec.yaml"),
        ("dictionaries", "two folders"),
        ("dictionaries", "own seeds"),
        ("probing", "spec.yaml"),
    ],
)
def test_the_specs_of_pages_are_specs(name: str, title: str, tmp_path: Path) -> None:
    page = (SITE / f"guide/{name}.md").read_text()
    found = re.search(rf'title="{title}"\n(.*?)\n```', page, re.S)
    assert found
    (tmp_path / "spec.yaml").write_text(found[1])
    assert load_spec(tmp_path / "spec.yaml", Families()).claims
