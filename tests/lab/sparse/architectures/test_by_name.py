"""The table of architectures: whoever is in it has what its column promises."""

import typing

import pytest
import torch

from engine.lab.sparse.architectures.by_name import ARCHITECTURES, SAELENS, TRAINABLE, ArchitectureName

PRE = torch.tensor([[3.0, -1.0, 2.0, 1.0], [-4.0, -3.0, -2.0, 0.5]])


def test_the_names_of_the_type_are_those_of_the_table():
    assert set(typing.get_args(ArchitectureName)) == set(ARCHITECTURES)
    assert all(ARCHITECTURES[name] is module for name, module in TRAINABLE.items())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_one_codes_positive_pre_activations_as_they_are(name):
    codes = ARCHITECTURES[name].infer(PRE, 4, 0.0 if name == "batchtopk" else None)
    assert torch.equal(codes.dense(), PRE.relu())


@pytest.mark.parametrize("name", TRAINABLE)
def test_what_is_trained_keeps_k_of_a_row_on_average_at_most(name):
    codes, _ = TRAINABLE[name].select(PRE, 1)
    assert len(codes.values) == 2
    assert codes.n_latents == 4


@pytest.mark.parametrize(("theirs", "entry"), SAELENS.items())
def test_what_is_saved_under_a_name_of_saelens_is_read_under_it(theirs, entry):
    name, module = entry
    assert ARCHITECTURES[name] is module and theirs == module.SAELENS
    threshold = torch.tensor([0.5, 1.0, 2.0, 0.0]) if name == "jumprelu" else None
    config, tensors = module.save(3, threshold, torch.zeros(4))
    fields = module.load(tensors, config, "cfg.json")
    codes = module.infer(PRE, fields.get("k", 3), fields.get("threshold"))
    assert torch.equal(codes.dense(), module.infer(PRE, 3, threshold).dense())


def test_a_batchtopk_is_a_jumprelu_to_saelens_and_is_read_back_as_one():
    assert ARCHITECTURES["batchtopk"].SAELENS == "jumprelu"
    assert SAELENS["jumprelu"][0] == "jumprelu"
