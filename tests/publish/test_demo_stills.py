"""The file of stills: read as it was written, a column on a line, and refused where it is another thing."""

import json
from pathlib import Path

import pytest

from engine.errors import SiteError
from engine.publish.demo_stills import FILE, read_stills, write_stills
from tests.publish.stills import panel, stills


def test_stills_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_stills(tmp_path) is None
    path = write_stills(tmp_path, stills())
    assert path == tmp_path / FILE
    assert read_stills(tmp_path) == stills()
    lines = path.read_text().splitlines()
    assert '      "rank": [120.0, 8.5, null]' in lines
    (chart,) = stills().panels[0].charts
    assert (chart.figure.kind, chart.figure.table, len(chart.table)) == ("line", "by_layer", 3)


def test_a_file_of_another_form_is_refused_with_the_place(tmp_path: Path) -> None:
    path = write_stills(tmp_path, stills())
    whole = json.loads(path.read_text())
    whole["panels"][0]["charts"][0]["rows"]["rank"] = [{"a": 1}]
    path.write_text(json.dumps(whole))
    with pytest.raises(SiteError) as refused:
        read_stills(tmp_path)
    assert refused.value.where.startswith(f"{path}: panels.0.charts.0.rows.rank.0")
    assert refused.value.hint == "mech demo --stills"
    path.write_text("{")
    with pytest.raises(SiteError, match="not as a panel answers"):
        read_stills(tmp_path)


@pytest.mark.parametrize("name", ["../x", "a/b", 'a"b', ""])
def test_no_name_leads_out_of_the_folder_of_charts(name: str) -> None:
    for changed in ({"name": name}, {"charts": [{"name": name}]}):
        with pytest.raises(ValueError, match=r"pattern|name"):
            panel(**changed)
