"""Links of reports open a state that their panel has; they are made in a room that cannot ask the panels."""

from typing import Any

import pytest

from engine.demo.address import chosen_panel, from_query
from engine.demo.panel_list import PANELS
from engine.families import names
from engine.publish.demo_links import FIGURES, FirstPrompts, query_of
from engine.spec.inputs import ANSWERS, CONTRAST, PAIRS
from engine.spec.models import Experiment, PromptChoice, Spec
from tests.conftest import REPOSITORY

SETS = {PAIRS: "facts", ANSWERS: "facts", CONTRAST: "sentiment", None: "facts"}
"""A packaged set of each kind that a link takes a prompt from."""
SAES = Experiment(family="polysemanticity_sae", hook_site="blocks.50%.hook_resid_pre")
CASES = [(family, figure) for family, figures in FIGURES.items() for figure in figures]


def spec_of(family: str, **changes: Any) -> Spec:
    """A spec with one experiment of the family, on the first set that its links take prompts from."""
    kind = next(iter(FIGURES[family].values())).prompts
    whole = {"prompts": PromptChoice(name=SETS[kind]), "uses": {"saes": "saes"}}
    whole["parameters"] = {"instruction": "This is a very positive review."}
    own = Experiment(family=family, **(whole | changes))
    return Spec(title="t", question="q", models=["m"], experiments={"own": own, "saes": SAES})


@pytest.mark.parametrize(("family", "figure"), CASES)
def test_a_link_is_read_by_its_panel(family: str, figure: str) -> None:
    assert family in names()
    link = FIGURES[family][figure]
    spec = spec_of(family)
    own = spec.experiments["own"]
    query = query_of(own, figure, spec, REPOSITORY, FirstPrompts())
    assert query is not None
    state = from_query(query, chosen_panel(query, PANELS)).model_dump()
    said = dict(link.settings) | dict(link.of_experiment(own, spec) or {})
    if link.prompts and own.prompts:
        first = FirstPrompts().of(own.prompts, REPOSITORY, link.prompts)
        assert first is not None
        said |= {name: first[column] for name, column in link.columns.items()}
    assert said == {name: str(state[name]) for name in said}


@pytest.mark.parametrize(
    ("family", "figure", "changes"),
    [
        ("circuit_patching", "denoising", {"parameters": {"ablation": "gaussian"}}),
        ("circuit_patching", "denoising", {"parameters": {"metric": "kl"}}),
        ("caa_steering", "dose_response", {"prompts": PromptChoice(name="facts")}),
        ("caa_steering", "dose_response", {"parameters": {}}),
        ("sae_stability", "best_match", {"uses": {"saes": "own"}}),
        ("logit_lens", "no_such_figure", {}),
        ("logit_lens", "rank", {"prompts": None}),
    ],
)
def test_what_a_panel_would_not_show_has_no_link(family: str, figure: str, changes: dict[str, Any]) -> None:
    spec = spec_of(family, **changes)
    assert query_of(spec.experiments["own"], figure, spec, REPOSITORY, FirstPrompts()) is None
