"""What a family reads, as it declares it: a spec is judged by this before any model is loaded.

inputs = Inputs(prompts=PAIRS)          # or ANSWERS, CONTRAST, LABELLED, CHAT
inputs = Inputs(corpus=True, site=True)
inputs = Inputs(uses={"saes": Uses("polysemanticity_sae", over="seed")})
inputs = Inputs(corpus=True, site_parameters=("sites",))
inputs = Inputs(corpus=True, site=True, coder_parameters=("coder",))
inputs = Inputs(prompts=LABELLED, uses={"sae": Uses("polysemanticity_sae", optional=True)})
inputs = Inputs(prompts=CHAT, prompt_parameters={"positive_control": CHAT})
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PromptKind = Literal["pairs", "answers", "contrast", "labelled", "chat"]

PAIRS: PromptKind = "pairs"
"""A clean and a corrupted prompt of equal length, with the answer of each."""
ANSWERS: PromptKind = "answers"
"""A prompt with its answer. Pairs are enough as well, and are read as pairs."""
CONTRAST: PromptKind = "contrast"
"""Two texts with one difference."""
LABELLED: PromptKind = "labelled"
"""Texts with a label each."""
CHAT: PromptKind = "chat"
"""Requests, put into the model's own chat template."""


@dataclass(frozen=True)
class Uses:
    """Runs that a family builds on in one role: those of an experiment of `family`.

    With `over` that experiment is swept over this one parameter, two values or more; without, it is one run.
    With `hands_over` the family reads the used runs' own text at their own hook site, so that its experiment
    names neither. With `optional` an experiment may leave the role out: `lab.uses` is then without it.
    """

    family: str
    over: str = ""
    hands_over: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Inputs:
    """What an experiment of a family must name, and all that it may name.

    `site` is the one `hook_site` of an experiment. A family that reads several takes them in fields of its
    Params, which `site_parameters` names: each holds a hook site or a list of them. They are judged with the
    spec, resolved in the plan, and read in the second model too where there is one. `second_model` is the
    field of its Params that names another model, where it can read one. `coder_parameters` are fields that
    name a dictionary, trained elsewhere, by the path of its SAELens folder: its bytes are in a run's key, and
    one that is not set leaves the experiment what it was before the family had the field.
    `prompt_parameters` are fields that name a prompt set beside the experiment's own, each with its kind: it
    is judged in the plan and is in the key; an empty name names none.
    """

    prompts: PromptKind | None = None
    corpus: bool = False
    site: bool = False
    uses: Mapping[str, Uses] = field(default_factory=dict)
    site_parameters: tuple[str, ...] = ()
    second_model: str = ""
    coder_parameters: tuple[str, ...] = ()
    prompt_parameters: Mapping[str, PromptKind] = field(default_factory=dict)
