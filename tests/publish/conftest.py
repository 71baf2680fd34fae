"""A project with a hand-written site, and the chart library left out where nothing draws."""

from pathlib import Path

import pytest

from tests.publish import made_up


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("engine.publish.pages.vega_bundle", lambda: "// the chart library\n")
    monkeypatch.setattr("engine.publish.pages.social_png", lambda charts, pictures: None)
    return made_up.project(tmp_path)
