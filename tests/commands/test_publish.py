"""`engine publish`, and `engine diff` of what was published: numbers that travel with the text."""

from __future__ import annotations


def test_publish_then_a_clone_without_a_store_shows_published_numbers(engine, project):
    engine("build")
    engine("publish")
    published = next((project / "investigations/planted/published").glob("*.json"))
    assert '"commit_layer"' in published.read_text()
    tables = {path.name.split(".")[-2] for path in published.parent.glob("*.csv")}
    assert tables == {"ranks", "per_prompt"}  # what the chart draws, and what the table shows; no others
    (project / ".engine").rename(project / ".engine-elsewhere")
    assert engine("build", "--budget", "0").code == 0
    page = (project / "public/investigations/planted/index.html").read_text()
    assert "published" in page
    assert 'data-verdict="supported"' in page
    fresh = engine("build")
    assert "measured here: " in fresh.out and "compared agree" in fresh.out
    assert engine("diff").code == 0
