"""An autoencoder of one source as a crosscoder's control: what it explains there, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.errors import DataError
from engine.families.crosscoder import Params, run
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.saelens import write_saelens
from tests.families.sparse_lab import sparse_lab

SITES = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
PARAMS = Params(sites=SITES, n_features=16, k=2, lr=1e-2, batch_size=128, held_out=0.2)


def written(folder: Path, hook_name: str, d: int = 32) -> str:
    """A dictionary that gives everything back: a basis and its opposite, of which the positive are kept."""
    basis = torch.cat([torch.eye(d), -torch.eye(d)])
    coder = Coder(basis.T.contiguous(), torch.zeros(2 * d), basis, torch.zeros(d), "relu")
    write_saelens(coder, folder, model_name=sparse_lab().model.name, hook_name=hook_name)
    return str(folder)


def test_it_is_judged_on_its_own_source_beside_the_crosscoder(tmp_path: Path) -> None:
    # What leaves block 1 is what its folder may call the input of block 2.
    coder = written(tmp_path, "blocks.2.hook_resid_pre")
    with_it = run(sparse_lab(None), PARAMS.model_copy(update={"coder": coder})).validated().measurements
    without = run(sparse_lab(None), PARAMS).measurements
    control = with_it["imported_explained_variance_1"]
    assert control.role == "control" and control.value == pytest.approx(1, abs=1e-6)
    assert "imported_explained_variance_0" not in with_it
    assert with_it.keys() - without.keys() == {"imported_explained_variance_1"}
    for name, m in without.items():
        assert (m.value, m.low, m.high) == (with_it[name].value, with_it[name].low, with_it[name].high), name


@pytest.mark.parametrize(
    ("site", "d", "said"),
    [("blocks.0.hook_mlp_out", 32, "none of the sources"), (SITES[0], 16, "expected: d_in: 32")],
)
def test_one_of_no_source_is_refused_with_its_file(tmp_path: Path, site: str, d: int, said: str) -> None:
    with pytest.raises(DataError, match=said) as told:
        run(sparse_lab(None), PARAMS.model_copy(update={"coder": written(tmp_path, site, d)}))
    assert "cfg.json" in str(told.value)
