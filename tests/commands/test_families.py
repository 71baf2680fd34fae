"""`engine families`: all of them in a line each, or one whole."""

from __future__ import annotations

from typing import Any


def test_every_family_has_a_line_and_one_is_described_with_its_parameters(engine: Any) -> None:
    listed = engine("families", "--json").json
    assert len(engine("families").out.splitlines()) == len(listed) + 1
    (named,) = engine("families", "logit_lens", "--json").json.items()
    assert named == ("logit_lens", listed["logit_lens"])
    described = engine("families", "logit_lens").out
    assert all(parameter["name"] in described for parameter in named[1]["parameters"])
