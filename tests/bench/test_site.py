"""The benchmark of the site, on one investigation."""

from tests.bench.site import measure


def test_each_build_is_told_as_soon_as_it_is_over(capsys):
    assert all(seconds > 0 for seconds in measure(1).values())
    cold, *others = capsys.readouterr().out.splitlines()
    assert cold.startswith("site, round 1 of 1: 1 investigations cold, s ")
    for name, line in zip(["unchanged", "one changed", "one published anew"], others, strict=True):
        assert f"1 investigations {name}, s" in line
        assert all(word in line for word in ("CPU, s", "of cold", "gflops", "load"))
