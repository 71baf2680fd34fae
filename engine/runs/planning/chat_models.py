"""Whether the models of an experiment can be asked chat requests: those that have a chat template."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.errors import DataError
from engine.runs.planning.resolved_sites import InputFault
from engine.spec.inputs import CHAT
from engine.spec.models import Experiment
from engine.spec.points import FamilyCatalog, prompt_kind


def missing_template(
    experiment: Experiment,
    models: Sequence[str],
    catalog: FamilyCatalog,
    has_template: Callable[[str], bool | None],
) -> InputFault | None:
    """What is wrong where a family puts requests to a model whose files have no chat template.

    `models` are that which is measured on and one that it is compared with. Of a model that is not fetched
    yet nothing can be said: the run will tell.
    """
    if experiment.prompts is None or prompt_kind(experiment.family, catalog) != CHAT:
        return None
    # `is False`: None is a model of which nothing is known.
    without = next((model for model in models if has_template(model) is False), None)
    if without is None:
        return None
    error = DataError(
        f"{without} has no chat template",
        expected=f"a model that was trained on chats, since {experiment.family} puts requests to it",
        seen="a tokenizer without a template",
        hint="an instruct model; `engine models` lists what can be had",
    )
    return InputFault("prompts", experiment.prompts.name, error)
