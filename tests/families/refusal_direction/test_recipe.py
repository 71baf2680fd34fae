"""The recipe's parts: requests by kind and part, the filter, the score of a behaviour."""

import numpy as np
import pytest

from engine.errors import DataError
from engine.families.refusal_direction import Params, divider
from engine.families.refusal_direction.candidates import Limits
from engine.families.refusal_direction.recipe import Settings, learn, read_requests
from engine.lab.planted_gate import gate_lab
from engine.lab.refusals import refusal_scores
from engine.models.generate import generate


@pytest.fixture(scope="module")
def planted():
    lab = gate_lab(gates=True)
    lab.receipts = []
    chats = lab.chat()
    return lab.model, read_requests(lab.model, chats, "harmful", divider(Params()))


def told(**changes):
    settings = {
        "layers": range(4),
        "positions": [-1],
        "limits": Limits(0.1, 0.0),
        "n_screen": 2,
        "n_finalists": 2,
        "coefficient": 1.0,
        "filtered": True,
    }
    return Settings(**{**settings, **changes})


def test_requests_know_their_kind_part_and_template(planted):
    _, requests = planted
    assert requests.template == ("end", "assistant")
    index = requests.of("held_out", positive=True)
    assert requests.positive[index].all()
    assert requests.split.held_out[index].all()
    assert len(requests.of("held_out", positive=True, limit=5)) == 5
    both = requests.both("train")
    assert len(both) == requests.split.train.sum()
    # Those that ask for the behaviour come first.
    assert requests.positive[both].tolist() == sorted(requests.positive[both].tolist(), reverse=True)


def test_a_label_that_is_not_there_is_an_error(planted):
    model, requests = planted
    with pytest.raises(DataError, match="two kinds") as error:
        read_requests(model, requests.chats, "french", divider(Params()))
    assert "harmful, harmless" in str(error.value)


def test_the_filter_leaves_out_what_the_model_does_not_treat_as_its_kind(planted):
    model, requests = planted
    refuses = model.text.token_to_id("I")
    kept = learn(model, requests, [refuses], told(), lambda _: None)
    assert kept.filtered
    assert len(kept.train) == requests.split.train.sum()
    # By a token that is never said no harmful request passes: all are taken, and that is said.
    all_taken = learn(model, requests, [model.text.token_to_id("now")], told(), lambda _: None)
    assert not all_taken.filtered
    assert len(all_taken.train) == requests.split.train.sum()
    assert not learn(model, requests, [refuses], told(filtered=False), lambda _: None).filtered


def test_scores_are_above_zero_where_the_behaviour_begins(planted):
    model, requests = planted
    rows = requests.some(requests.both("select"))
    scores = refusal_scores(model, rows, [model.text.token_to_id("I")]).numpy()
    said = [each.text.strip() == "I" for each in generate(model, rows, max_tokens=1)]
    assert ((scores > 0) == np.array(said)).all()
