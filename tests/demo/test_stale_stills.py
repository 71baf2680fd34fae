"""`engine check` tells of stills whose panel, or whose model, is another one by now."""

from pathlib import Path

from engine.demo.stale_stills import still_concerns
from engine.models.known import KNOWN
from engine.publish.demo_stills import write_stills
from tests.conftest import REPOSITORY
from tests.publish.stills import panel, stills

FITTING = {"model": KNOWN[0].name, "model_hash": KNOWN[0].pins.sha256}


def test_without_stills_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert still_concerns(tmp_path) == []


def test_stills_that_fit_are_no_concern_and_others_are_named(tmp_path: Path) -> None:
    made = stills(panel(), panel(name="sae")).model_copy(update=FITTING)
    write_stills(tmp_path, made)
    assert still_concerns(tmp_path, {"lens": "c0de", "sae": "c0de"}) == []
    found = still_concerns(tmp_path, {"lens": "0ther", "steering": "c0de"})
    assert {concern.kind for concern in found} == {"stale-still"}
    said = {concern.where.rpartition(" ")[2]: concern.message for concern in found}
    assert list(said) == ["lens", "steering", "sae"]
    assert said["lens"] == "the panel's code has changed since 2026-01-31; mech demo --stills makes it anew"
    assert "no still" in said["steering"] and "no such panel" in said["sae"]


def test_stills_of_another_model_are_told_of(tmp_path: Path) -> None:
    write_stills(tmp_path, stills())
    (found,) = still_concerns(tmp_path, {"lens": "c0de"})
    assert found.where == "site/demo/stills.json: model" and "tiny-llama" in found.message


def test_the_committed_stills_are_small_and_of_panels_that_there_are() -> None:
    site = REPOSITORY / "site"
    assert (site / "demo/stills.json").stat().st_size < 600_000
    # That they fit is told by `engine check`, as it is of published numbers.
    told = [concern.message for concern in still_concerns(site)]
    assert not [message for message in told if "no such panel" in message]
