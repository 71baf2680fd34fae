"""Links of reports open a state that their panel has; they are made in a room that cannot ask the panels."""

import pytest

from engine.demo.address import chosen_panel, from_query
from engine.demo.panel_list import PANELS
from engine.families import names
from engine.publish.demo_links import FIGURES, FirstPrompts, query_of
from engine.spec.inputs import ANSWERS, PAIRS
from engine.spec.models import Experiment, PromptChoice
from tests.conftest import REPOSITORY

SETS = {PAIRS: "facts", ANSWERS: "facts"}
"""A packaged set of each kind that a link takes a prompt from."""


@pytest.mark.parametrize(
    ("family", "figure"), [(family, figure) for family, figures in FIGURES.items() for figure in figures]
)
def test_a_link_is_read_by_its_panel(family: str, figure: str) -> None:
    assert family in names()
    link = FIGURES[family][figure]
    experiment = Experiment(family=family, prompts=PromptChoice(name=SETS[link.prompts]))
    query = query_of(experiment, figure, REPOSITORY, FirstPrompts())
    assert query is not None
    state = from_query(query, chosen_panel(query, PANELS)).model_dump()
    first = FirstPrompts().of(PromptChoice(name=SETS[link.prompts]), REPOSITORY, link.prompts)
    assert first is not None
    said = {name: first[column] for name, column in link.columns.items()}
    said |= dict(link.settings)
    assert said == {name: str(state[name]) for name in said}
