"""A sparse autoencoder of one of the sources, brought along: what it explains of that source alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from engine.errors import DataError
from engine.evidence.builder import Evidence
from engine.families.crosscoder.source_data import SourceData
from engine.families.crosscoder.sources import AlignedSources
from engine.lab.lab import Lab
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.saelens import read_saelens
from engine.lab.sparse.saelens_config import CONFIG, misfit


@dataclass(frozen=True)
class ImportedSource:
    """An autoencoder and the source that it is of, by its place among them."""

    coder: Coder
    place: int


def imported_source(lab: Lab, path: str, aligned: AlignedSources) -> ImportedSource:
    """The dictionary in a folder, with the first source of its model and hook site.

    DataError naming the file where the folder is broken, where it is of no source, or of another width.
    """
    coder, config = read_saelens(lab.coders.get(path, Path(path)))
    where = str(config.folder / CONFIG)
    fits = [misfit(config, source.model, source.site) is None for source in aligned.sources]
    if not any(fits):
        raise DataError(
            "this dictionary is of none of the sources",
            where=where,
            expected=", ".join(f"{source.site} of {source.model}" for source in aligned.sources),
            seen=f"{config.hook_site} of {config.model}",
        )
    place = fits.index(True)
    if coder.d != aligned.widths[place]:
        expected = f"d_in: {aligned.widths[place]}, as {aligned.names[place]}"
        raise DataError(
            "this dictionary is of another width", where=where, expected=expected, seen=f"d_in: {coder.d}"
        )
    return ImportedSource(coder, place)


@torch.no_grad()
def explained_by_imported(
    ev: Evidence, imported: ImportedSource, data: SourceData, mean: Float[Tensor, " width"]
) -> None:
    """Explained variance of its source, on the rows and about the mean that the crosscoder is judged by."""
    start = sum(data.widths[: imported.place])
    columns = slice(start, start + data.widths[imported.place])
    # In double precision, by context: left over and total.
    sums = torch.zeros(2, data.n_contexts, dtype=torch.float64)
    for batch, contexts in data.held():
        x = batch[:, columns].float()
        left_over = (x - imported.coder.reconstruct(x)).double().square().sum(dim=1)
        total = (x - mean[columns]).double().square().sum(dim=1)
        sums.index_add_(1, contexts, torch.stack([left_over, total]))
    left_over, total = sums.numpy()
    about = (
        f"Explained variance of {data.sources[imported.place]} by the autoencoder of this source alone that "
        "was given, about the training mean."
    )
    ev.control(f"imported_explained_variance_{imported.place}", total - left_over, about, over=total)
