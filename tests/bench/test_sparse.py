"""The bench itself: our contender trains in a process of its own, and medians are taken by round."""

import pytest

from tests.bench.sparse import main, summary


def test_our_contender_runs_and_is_reported(capsys, monkeypatch):
    monkeypatch.setattr("tests.bench.sparse.moment", lambda: {"gflops": 1.0, "load": 1.0})
    small = "--rounds 1 --steps 8 --batch-size 64 --features 64 --k 4 --d 16 --tokens 1024 --threads 1"
    main([*small.split(), "--rivals"])
    out = capsys.readouterr().out
    assert "batchtopk" in out and "ours" in out
    assert "our training's tensors at their peak: " in out


def test_ratios_are_medians_over_rounds():
    def row(contender, number, speed):
        about = {"kind": "topk", "contender": contender, "round": number, "tokens_per_second": speed}
        return about | {"loss": 0.1, "peak_bytes": 1, "gflops": 1.0, "load": 0.0}

    speeds = [(30, 10), (40, 10), (50, 10)]
    rows = [row("ours", i, a) for i, (a, _) in enumerate(speeds)]
    rows += [row("saelens", i, b) for i, (_, b) in enumerate(speeds)]
    table = summary(rows).set_index("contender")
    assert table.loc["saelens", "ours_over"] == pytest.approx(4.0)
