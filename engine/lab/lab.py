"""What an experiment is given: a model, prompts, text, the results it builds on, a way to report progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.data.answers import PromptAnswers, tokenize_answers
from engine.data.chat import ChatPrompts, render_chat
from engine.data.contrasts import TextContrasts, tokenize_contrasts
from engine.data.corpora import Corpus
from engine.data.labelled import LabelledTexts, tokenize_labelled
from engine.data.pairs import tokenize_pairs
from engine.data.prompt_kinds import KINDS
from engine.data.prompts import PromptSet
from engine.errors import SpecError
from engine.evidence.result import Check, Result
from engine.lab.facts import Facts, known_facts
from engine.lab.receipts import chat_receipts, contrast_receipts, model_receipts, receipts_of_some
from engine.lab.used_run import Point, UsedRun
from engine.spec.inputs import ANSWERS, CHAT, CONTRAST, LABELLED, PAIRS, PromptKind
from engine.spec.models import Scalar

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


def _silent(fraction: float, message: str = "") -> None:
    """Progress that nobody watches."""


@dataclass
class Lab:
    """One experiment's workplace. `progress` takes a fraction from 0 to 1 and a few words.

    `uses` holds the runs it builds on by role and sweep point, (("seed", 3),); the point of an experiment
    without a sweep is (). `folder` is the project's `.engine/`, where what runs share is kept, such as
    harvested activations; None keeps nothing. `receipts` are the checks that every run owes of what it reads,
    made where the lab hands it out; the engine adds them to the evidence. `coders` says where
    the dictionaries lie that parameters name, by these names; `further_prompts` holds the prompt sets that
    parameters name, by parameter.
    """

    model: HookedModel
    prompts: PromptSet | None = None
    corpus: Corpus | None = None
    uses: dict[str, dict[Point, UsedRun]] = field(default_factory=dict)
    hook_site: str | None = None
    folder: Path | None = None
    coders: Mapping[str, Path] = field(default_factory=dict)
    further_prompts: Mapping[str, PromptSet] = field(default_factory=dict)
    progress: Callable[..., None] = _silent
    staged: float = field(default=0.0, init=False)
    receipts: list[Check] = field(default_factory=list, init=False)

    @contextmanager
    def stage(self, until: float, message: str) -> Iterator[Callable[..., None]]:
        """One step of the method, from where the last one ended to `until` of the whole run.

        Gives what reports progress inside the step, told from 0 to 1.
        """
        since = self.staged

        def progress(fraction: float, words: str = message) -> None:
            self.progress(since + (until - since) * fraction, words)

        progress(0.0)
        yield progress
        # Not where the step raised, which ends the run.
        self.staged = until

    def tokenized(self) -> PromptAnswers:
        """The prompts with answers that fit the tokenizer: pairs where the set has corrupted prompts."""
        prompts = self._prompts(PAIRS, ANSWERS)
        read = tokenize_pairs if prompts.kind == PAIRS else tokenize_answers
        return read(prompts, self.model)

    def contrasts(self) -> TextContrasts:
        """The contrasts that the model can read and tell apart."""
        context = self.model.anatomy.context_tokens
        found = tokenize_contrasts(self._prompts(CONTRAST), self.model, context)
        # Made here, where prompts are handed out: a family cannot forget them.
        self.receipts += contrast_receipts(self.model, found)
        return found

    def labelled(self) -> LabelledTexts:
        """The labelled texts that the model can read."""
        texts = tokenize_labelled(self._prompts(LABELLED), self.model, self.model.anatomy.context_tokens)
        self.receipts += receipts_of_some(self.model, texts.ids, texts.tokens, texts.last)
        return texts

    def chat(self, system: str = "") -> ChatPrompts:
        """The requests in the model's own chat template; DataError where it has none.

        `system` is the system text before every request, in place of the prompts' own.
        """
        prompts = self._prompts(CHAT)
        if system:
            prompts = replace(prompts, table=prompts.table.assign(system=system))
        found = render_chat(prompts, self.model)
        # Made here, where prompts are handed out: a family cannot forget them.
        self.receipts += chat_receipts(self.model, found)
        return found

    def further(self, parameter: str) -> PromptSet:
        """The prompt set that a parameter names beside the own prompts; SpecError where there is none."""
        if parameter not in self.further_prompts:
            raise SpecError(
                f"no prompts were handed over for the parameter {parameter}",
                expected=f"parameters: {{{parameter}: NAME}}, declared in the family's prompt_parameters",
                seen=", ".join(self.further_prompts) or "none",
            )
        return self.further_prompts[parameter]

    def _prompts(self, *kinds: PromptKind) -> PromptSet:
        """The prompts, of one of these kinds; SpecError where the experiment names none or others."""
        if self.prompts is None:
            raise SpecError("this family needs prompts", expected="prompts: {name: facts}", seen="none")
        if self.prompts.kind not in kinds:
            raise SpecError(
                f"these prompts are {KINDS[self.prompts.kind].noun}",
                where=self.prompts.name,
                expected=" or ".join(KINDS[kind].noun for kind in kinds),
                hint="declare what the family reads: inputs = Inputs(prompts=...)",
            )
        return self.prompts

    def text(self) -> Corpus:
        """The text to run over, in the model's tokens; SpecError where the experiment names no corpus."""
        if self.corpus is None:
            expected = "corpus: {name: smollm2-samples, tokens: 200_000}"
            raise SpecError("this family needs a corpus", expected=expected, seen="none")
        return self.corpus

    def known_facts(
        self, *, known_rank: int = 0, both_sides: bool = False, per_relation: int | None = None
    ) -> Facts:
        """The pairs whose fact the model knows, as `engine.lab.facts.known_facts` decides."""
        facts = known_facts(
            self.model,
            self.tokenized(),
            known_rank=known_rank,
            both_sides=both_sides,
            per_relation=per_relation,
        )
        # Made here, where facts are handed out: a family cannot forget them.
        self.receipts += model_receipts(self.model, facts)
        return facts

    def used(self, role: str) -> Result:
        """The one result this experiment builds on under that role; SpecError where none or several are."""
        found = self.used_runs(role)
        if len(found) > 1:
            seen = f"a sweep of {len(found)} points"
            raise SpecError(f"this family builds on one run as {role!r}", expected="no sweep", seen=seen)
        return next(iter(found.values())).result

    def used_runs(self, role: str) -> dict[Point, UsedRun]:
        """The runs under that role, by sweep point in the sweep's order, each with what it was measured as.

        Raises SpecError where the spec names none.
        """
        if role not in self.uses:
            raise SpecError(
                f"this family builds on another experiment as {role!r}",
                expected=f"uses: {{{role}: NAME}}",
                seen=", ".join(self.uses) or "none",
            )
        return self.uses[role]

    def used_over(self, role: str, parameter: str) -> dict[Scalar, Result]:
        """The results under a role by the one parameter that they are swept over, two or more of them.

        SpecError where there are fewer, or where they differ in anything else.
        """
        points = self.used_runs(role)
        # A sweep over a second parameter would mix two causes. What all points share, such as the choice that
        # a claim is tested under, is no cause of any difference.
        values = [dict(point) for point in points]
        names = sorted({name for point in values for name in point})
        swept = [name for name in names if any(point.get(name) != values[0].get(name) for point in values)]
        if swept != [parameter] or len(points) < 2:
            of = f"{len(points)} run{'s' * (len(points) != 1)}"
            raise SpecError(
                f"this family compares runs that differ in {parameter} alone",
                expected=f"uses: {{{role}: EXPERIMENT}}, with sweep: {{{parameter}: [...]}} of two or more",
                seen=f"{of}, swept over {', '.join(swept) or 'nothing'}",
                hint="for each value of anything else, one experiment and one of this family that uses it",
            )
        return {dict(point)[parameter]: run.result for point, run in points.items()}
