"""The benchmark of the site, on one investigation."""

import json

from tests.bench.site import make_project, measure


def test_each_build_is_told_as_soon_as_it_is_over(capsys):
    assert all(seconds > 0 for seconds in measure(1).values())
    cold, *others = capsys.readouterr().out.splitlines()
    assert cold.startswith("site, round 1 of 1: 1 investigations cold, s ")
    for name, line in zip(["unchanged", "one changed", "one published anew"], others, strict=True):
        assert f"1 investigations {name}, s" in line
        assert all(word in line for word in ("CPU, s", "of cold", "gflops", "load"))


def test_copies_draw_the_same_unless_they_are_told_to_draw_their_own(tmp_path):
    titles = []
    for own in (False, True):
        folder = tmp_path / str(own)
        folder.mkdir()
        make_project(folder, 2, own)
        (published,) = (folder / "investigations/x-001/published").glob("smollm2*.json")
        figures = json.loads(published.read_text())["runs"]["lens"]["figures"]
        titles.append(figures["rank"]["options"]["x_title"])
    assert titles[0] != titles[1] == "axis 1"
