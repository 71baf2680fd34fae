"""`mech report`: one run as a page that stands alone."""

from __future__ import annotations


def test_a_run_is_written_as_one_self_contained_page(engine, project, tmp_path):
    engine("run", "--name", "planted/lens")
    assert engine("report", "--run-id", "1", "--output", str(tmp_path)).code == 0
    page = (tmp_path / "run-1.html").read_text()
    assert "commit_layer" in page
    assert 'src="http' not in page
    assert "commit" in (tmp_path / "run-1.md").read_text()
