import importlib.util
from pathlib import Path

import pytest

import engine.families
from engine.errors import SpecError
from engine.spec.load import load_spec
from engine.spec.scaffold import new_family, new_investigation

TITLE = 'What\'s "it": {{ 7 * 7 }} # Zürich @today@?'


class Families:
    def names(self):
        return engine.families.names()

    def params(self, name):
        return engine.families.params_model(name)

    def inputs(self, name):
        return engine.families.inputs(name)


@pytest.fixture
def spec_path(tmp_path: Path) -> Path:
    written = new_investigation(tmp_path / "my-question", "my-question", TITLE)
    assert [p.name for p in written] == ["spec.yaml", "report.md", "prompts.csv"]
    return written[0]


def test_a_new_investigation_loads(spec_path):
    spec = load_spec(spec_path, Families())
    assert spec.title == TITLE
    assert [e.family for e in spec.experiments.values()] == ["logit_lens"]


def test_a_new_investigation_has_an_example_of_a_prompt_file(spec_path):
    from engine.data.prompts import load_prompts
    from engine.spec.inputs import ANSWERS
    from engine.spec.models import PromptChoice

    prompts = load_prompts(PromptChoice(name="prompts.csv"), spec_path.parent, ANSWERS)
    assert (prompts.kind, len(prompts.table), prompts.cluster_column) == (ANSWERS, 8, "relation")
    assert "prompts: prompts.csv" in spec_path.read_text()


def test_a_new_investigation_runs_and_its_report_renders(spec_path):
    from engine.evidence.verdicts import judge
    from engine.families import logit_lens
    from engine.lab.planted import planted_lab
    from engine.report.render import render
    from engine.runs.ledger import Entry, Ledger

    spec = load_spec(spec_path, Families())
    lab = planted_lab()
    result = logit_lens.run(lab, logit_lens.Params(**spec.experiments["lens"].parameters)).validated()
    numbers, parts = result.measurements, {"tables": result.tables, "figures": result.figures}
    entry = Entry("lens", {}, spec.models[0], "measured", measurements=numbers, **parts)
    verdicts = {
        name: judge(name, claim, lambda number: numbers.get(number.removeprefix("lens.")), lambda number: "")
        for name, claim in spec.claims.items()
    }
    ledger = Ledger("my-question", spec, (entry,), {spec.models[0]: verdicts})
    template = spec_path.with_name("report.md")
    report = render(ledger, template.read_text(), template)
    # A toy may decide otherwise, or not at all.
    decided = ("broken-sentence", "undecided-sentence")
    assert [p for p in report.concerns if p.kind not in decided] == []
    assert len(report.charts) == 1
    assert report.headline.startswith("The answer settles after 6")  # two of the three layers, in percent


def test_a_new_family_and_its_test_work_as_they_stand(tmp_path, monkeypatch):
    code, test = new_family("answer_margin", tmp_path / "engine", tmp_path / "tests")
    assert (code.name, test.name) == ("answer_margin.py", "test_answer_margin.py")
    monkeypatch.setattr(engine.families, "__path__", [*engine.families.__path__, str(code.parent)])
    found = importlib.util.spec_from_file_location("test_answer_margin", test)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    checks = [function for name, function in vars(module).items() if name.startswith("test_")]
    assert len(checks) == 2
    for check in checks:
        check()


@pytest.mark.parametrize("slug", ["", "My-Question", "a--b", "-a", "a_b", "../a", "1st", "a" * 61, "a\n"])
def test_a_slug_must_be_a_folder_and_an_address(tmp_path, slug):
    with pytest.raises(SpecError, match="cannot be the slug"):
        new_investigation(tmp_path / "x", slug, "Title")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "Lens", "my-family", "class", "1st", "a/b", "a__b", "_a"])
def test_a_family_must_be_importable(tmp_path, name):
    with pytest.raises(SpecError, match="cannot be the name"):
        new_family(name, tmp_path / "engine", tmp_path / "tests")
    assert list(tmp_path.iterdir()) == []


def test_a_nearby_name_is_offered(tmp_path):
    with pytest.raises(SpecError, match="nearest: my-question"):
        new_investigation(tmp_path, "My Question?", "Title")


def test_nothing_is_overwritten(tmp_path):
    folder = tmp_path / "a"
    new_investigation(folder, "a", "First")
    with pytest.raises(SpecError, match="it is there already"):
        new_investigation(folder, "a", "Second")
    (folder / "spec.yaml").unlink()
    with pytest.raises(SpecError, match=r"report\.md: it is there already"):
        new_investigation(folder, "a", "Second")
    assert not (folder / "spec.yaml").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="cannot be written"):
        new_investigation(tmp_path / "file", "a", "Title")
