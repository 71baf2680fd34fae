"""What a patch is measured by: a number read off the last residual stream of a run.

    logit_diff        logit of the answer minus logit of the wrong answer
    probability       p(answer), over the whole vocabulary
    log_probability   log p(answer), in nats
    kl                KL(p_clean || p_patched), in nats: 0 is the clean run's own prediction

The first needs two columns of the unembedding, and is linear in the normed stream unless logits are capped;
the others need all columns.
Zhang & Nanda (2024, section 3) find that they can locate different components: probability saturates, and
shows neither what pushes the answer down where it is unlikely already, nor what only the wrong answer gains.

Source: Wang et al. 2023 (logit difference), Meng et al. 2022 (probability), Conmy et al. 2023 (KL); compared
by Zhang & Nanda 2024, "Towards Best Practices of Activation Patching in Language Models".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.lab.groups import equal_length_groups
from engine.lab.patch_pairs import PatchPairs, answer_direction, capped_differences, logit_differences
from engine.lab.threads import side_by_side
from engine.spec.family_params import MetricName

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

ROWS_AT_ONCE = 64  # of logits over the whole vocabulary: 40 MB of float32 for 150,000 tokens


@dataclass(frozen=True)
class PatchMetric:
    """A metric for a list of pairs: what it reads of each, in the pairs' order.

    `direction` is "prompt d_model", for the logit difference, or `wrong_answer` in its place where logits are
    capped; `clean` the clean runs' log-probabilities, "prompt vocab", for the KL divergence.
    """

    name: MetricName
    answer: Int[Tensor, " prompt"]
    direction: Float[Tensor, "prompt d_model"] | None = None
    clean: Float[Tensor, "prompt vocab"] | None = None
    wrong_answer: Int[Tensor, " prompt"] | None = None

    def rows(self, index: Sequence[int] | np.ndarray | Tensor) -> PatchMetric:
        """The metric for the pairs at `index`."""
        chosen = torch.as_tensor(index, device=self.answer.device)
        direction = None if self.direction is None else self.direction[chosen]
        clean = None if self.clean is None else self.clean[chosen]
        wrong_answer = None if self.wrong_answer is None else self.wrong_answer[chosen]
        return PatchMetric(self.name, self.answer[chosen], direction, clean, wrong_answer)

    def of(
        self, model: HookedModel, resid: Float[Tensor, "row d_model"], prompt: Int[Tensor, " row"]
    ) -> Float[Tensor, " row"]:
        """The metric of residual streams after the last block, each of the pair `prompt`."""
        if self.direction is not None:
            return logit_differences(model, resid, self.direction[prompt])
        if self.wrong_answer is not None:
            return capped_differences(model, resid, self.answer[prompt], self.wrong_answer[prompt])
        # A few rows at a time: whole logits of all patches of a batch would not fit.
        pieces = zip(resid.split(ROWS_AT_ONCE), prompt.split(ROWS_AT_ONCE), strict=True)
        return torch.cat([self._of_distribution(log_probabilities(model, r), p) for r, p in pieces])

    def _of_distribution(
        self, log_p: Float[Tensor, "row vocab"], prompt: Int[Tensor, " row"]
    ) -> Float[Tensor, " row"]:
        if self.clean is not None:
            # sum_v p_clean(v) (log p_clean(v) - log p(v))
            reference = self.clean[prompt]
            return (reference.exp() * (reference - log_p)).sum(-1)
        answer = log_p.gather(1, self.answer[prompt][:, None])[:, 0]
        return answer.exp() if self.name == "probability" else answer


def patch_metric(
    model: HookedModel, pairs: PatchPairs, name: MetricName = "logit_diff", clean: PatchPairs | None = None
) -> PatchMetric:
    """The metric `name` for some pairs.

    `kl` is measured from the source runs of `clean`, in the order of `pairs`, which are those of `pairs`
    themselves when left out.
    """
    if name == "logit_diff" and model.logit_cap:
        return PatchMetric(name, pairs.answer, wrong_answer=pairs.wrong_answer)
    if name == "logit_diff":
        return PatchMetric(name, pairs.answer, direction=answer_direction(model, pairs))
    if name == "kl":
        return PatchMetric(name, pairs.answer, clean=_source_log_probabilities(model, clean or pairs))
    return PatchMetric(name, pairs.answer)


def log_probabilities(model: HookedModel, resid: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
    """log p of every next token, in fp32: bf16 logits would leave two digits of a probability."""
    return model.unembed(resid).float().log_softmax(-1)


def _source_log_probabilities(model: HookedModel, pairs: PatchPairs) -> Float[Tensor, "prompt vocab"]:
    """What each pair's source run predicts."""
    groups = list(equal_length_groups(pairs.last, 8))

    def predicted(index: list[int]) -> Tensor:
        here = pairs.rows(index)
        resid = model.layers(here.source_resid(model)[:, : int(here.last[0]) + 1])
        return log_probabilities(model, resid[:, -1])

    found = side_by_side(predicted, groups, model.device)
    out = found[0].new_empty(len(pairs), found[0].shape[-1])
    for index, values in zip(groups, found, strict=True):
        out[index] = values
    return out
