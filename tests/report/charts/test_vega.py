"""The chart library is one script that keeps its names to itself."""

from __future__ import annotations

from engine.report.charts.vega import vega_bundle, vega_bundle_name


def test_the_bundle_keeps_its_names_to_itself() -> None:
    assert vega_bundle_name().startswith("vega-6") and vega_bundle_name().endswith(".js")
    bundle = vega_bundle()
    assert bundle.startswith("if (!window.vegaEmbed) (() => {") and bundle.rstrip().endswith("})();")
    assert "window.vegaEmbed = " in bundle or "window.vegaEmbed=" in bundle
    assert "</script" not in bundle.lower() and len(bundle) > 500_000
