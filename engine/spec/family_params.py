"""What the parameters of all families have in common, and the ones that several share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MetricName = Literal["logit_diff", "probability", "log_probability", "kl"]
"""What a patch is measured by (`engine.lab.patch_metrics`)."""
AblationName = Literal["interchange", "gaussian", "mean", "zero"]
"""What takes a fact away (`engine.lab.ablation`)."""
CircuitAblationName = Literal["corrupted", "mean", "zero"]
"""What an edge that is cut reads instead of its source (`engine.lab.circuits.circuit_forward`)."""
CircuitDirectionName = Literal["noising", "denoising"]
"""Whether the reference is put into the clean run or the clean run into the corrupted one, and"""
CircuitSideName = Literal["circuit", "complement"]
"""whether the circuit itself is run or what is left without it (`engine.lab.circuits.circuit_task`)."""
CircuitPositionsName = Literal["all", "last"]
"""At which positions edges are cut."""
GridMethod = Literal["eap", "eap_ig_inputs", "relp"]
"""How the patches of a grid of sites are estimated (`engine.lab.attribution_patching`)."""
AttributionMethod = Literal["eap", "eap_ig_inputs", "eap_ig_activations", "relp"]
"""How the patches of nodes and edges are estimated (`engine.lab.circuits.edge_attribution`)."""
PoolingName = Literal["last", "mean", "max"]
"""Which of its tokens stand for a text (`engine.lab.text_vectors`)."""
SelectionName = Literal["mean_difference", "auc"]
"""What coordinates are ranked by (`engine.lab.probes`)."""

TextTemplate = Literal["plain", "chat"]
"""Texts as they are, or what they begin with as a request in the model's chat template and the rest as its
answer."""
ReadAt = Literal["answer", "last"]
"""Where a text is read: the mean over the tokens in which it differs from its pair's other text, or at its
last token."""
MarginScorer = Literal["per_token", "total"]
"""Log-probabilities of two answers over the tokens of each, or in all."""


class FamilyParams(BaseModel):
    """The base of every family's Params: unknown keys are refused, docstrings describe the fields."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class SeedParams(FamilyParams):
    """Of families that draw something."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Draws whatever the method draws: initial directions, the order of tokens, random controls."""


class HarvestParams(FamilyParams):
    """Which text the model reads, and which of it is measured on."""

    tokens: Annotated[int, Field(gt=0)] | None = None
    """At most this many tokens of the corpus are harvested; all of them when left out."""
    context_tokens: Annotated[int, Field(gt=1)] = 128
    """Tokens that the model reads at once."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the contexts that is measured on rather than trained on."""
    max_norm: Annotated[float, Field(gt=1)] | None = 10.0
    """Massive activations, longer than this many times the median of the training tokens, are left out of
    training and of measuring; null keeps them."""


class TrainingParams(SeedParams):
    """How a sparse dictionary is trained."""

    n_features: Annotated[int, Field(gt=0)] = 2048
    """How many latents the dictionary has."""
    k: Annotated[int, Field(gt=0)] = 32
    """Latents active for each token; for BatchTopK on average over a batch."""
    epochs: Annotated[int, Field(gt=0)] = 1
    """How often every token is trained on."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Adam's learning rate after the warm-up; it falls to zero over the last fifth of the steps."""
    batch_size: Annotated[int, Field(gt=0)] = 1024
    """Tokens in a step."""

    @model_validator(mode="after")
    def _has_k_latents(self) -> TrainingParams:
        if self.k > self.n_features:
            raise ValueError(f"k = {self.k} is more than n_features = {self.n_features}")
        return self
