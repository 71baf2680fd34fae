"""The benchmark of the site, on one investigation."""

from tests.bench.site import measure


def test_each_build_is_told_as_soon_as_it_is_over(capsys):
    assert all(seconds > 0 for seconds in measure(1).values())
    cold, unchanged, changed = capsys.readouterr().out.splitlines()
    assert cold.startswith("site, round 1 of 1: 1 investigations cold, s ")
    assert "1 investigations unchanged, s" in unchanged and "of cold" in unchanged and "gflops" in unchanged
    assert "1 investigations, one changed, s" in changed and "load" in changed
