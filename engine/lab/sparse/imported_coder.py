"""The dictionary that an experiment is given by its folder, for the model and hook site that it reads."""

from __future__ import annotations

from pathlib import Path

from engine.errors import DataError, SpecError
from engine.lab.lab import Lab
from engine.lab.site_vectors import readable_site, width
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.saelens import read_saelens
from engine.lab.sparse.saelens_config import CONFIG, SaelensConfig, misfit


def imported_coder(lab: Lab, path: str, hook_site: str | None) -> tuple[Coder, SaelensConfig]:
    """The coder of a SAELens folder that a parameter names, and what the folder says of it.

    Raises DataError naming the file where the folder is broken, or where the dictionary is of another model,
    hook site or width; SpecError where there is no hook site.
    """
    if hook_site is None:
        raise SpecError("this family needs a hook site", expected="hook_site: blocks.50%.hook_resid_post")
    site = readable_site(lab.model, hook_site)
    # A plan says where a path of the project lies; in a notebook the path itself does.
    coder, config = read_saelens(lab.coders.get(path, Path(path)))
    if error := misfit(config, lab.model.name, site):
        raise error
    wanted = width(lab.model, site)
    if coder.d != wanted:
        raise DataError(
            "this dictionary is of another width",
            where=str(config.folder / CONFIG),
            expected=f"d_in: {wanted}, as {site} of {lab.model.name}",
            seen=f"d_in: {coder.d}",
        )
    return coder, config
