"""What is printed of a round."""

from tests.bench.rounds import moment, tell


def test_figures_are_told_with_what_the_machine_could_do(capsys):
    tell("patching", 0, 5, {"pair": "fact", "their_ms": 12.3456, "gflops": 80.0})
    tell("patching", 2, 5, moment())
    first, second = capsys.readouterr().out.splitlines()
    assert first == "patching, warming up: fact, their_ms 12.35, gflops 80"
    assert second.startswith("patching, round 2 of 5: gflops ") and "load" in second
