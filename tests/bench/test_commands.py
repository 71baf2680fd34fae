"""The benchmark of the command line, one tiny round."""

from tests.bench.commands import help_seconds


def test_a_round_is_told_as_soon_as_it_is_over(capsys):
    ours, empty = help_seconds(1)
    assert ours > 0 and empty > 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("command line, round 1 of 1: engine --help, s ")
    assert "gflops" in line and "load" in line
