"""What every run of an investigation depends on now, and whether the store has it: the facts under a plan."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from engine.errors import ModelUnknown
from engine.runs.investigation import Investigation, project_or_none
from engine.runs.planning.chat_models import missing_template
from engine.runs.planning.code_hash import CodeBook, digest
from engine.runs.planning.cost import (
    NOTHING_READ,
    Amounts,
    CostEstimate,
    Costs,
    PastRun,
    model_seconds,
    past_run,
)
from engine.runs.planning.data_checks import DataChecks, DataFacts
from engine.runs.planning.given_coders import GivenCoder, given_coder
from engine.runs.planning.keys import RunInputs, asked_otherwise, canonical, explain
from engine.runs.planning.resolved_sites import InputFault, resolved_hook_site, resolved_parameters
from engine.runs.published.read import PublishedEvidence, PublishedRun, read_published
from engine.runs.sources import ModelFacts, Sources
from engine.runs.store.record import RunName, StoredRun
from engine.runs.store.store import RunStore
from engine.spec.document import Loc
from engine.spec.inputs import PromptKind
from engine.spec.load import places_in, written_at
from engine.spec.models import Experiment, PromptChoice
from engine.spec.points import (
    coder_fields,
    experiment_order,
    normalised,
    points,
    prompt_parameters,
    second_model_field,
    site_parameters,
)
from engine.spec.specifications import Settings, inherited, settings_of, specified_settings

RunState = Literal["up to date", "stale", "new", "not measurable"]
SHOWN_CHANGES = 3
OWN: Settings = ()


@dataclass(frozen=True)
class RunStatus:
    """One run as things stand: `changed` names the inputs that differ from the last run of this name.

    `last` is the newest stored run of this name, `current` the one with today's key. `blocked` says why it
    cannot be measured here now, even where it is up to date. `published` is what was committed for this
    very experiment; `unpublished` says why what was committed does not serve, `doubted` is what was committed
    and is not believed. `sites` are the hook sites
    among its parameters, by model, with their layers.
    """

    name: RunName
    experiment: Experiment
    inputs: RunInputs
    needs: tuple[RunName, ...]
    state: RunState
    reason: str
    changed: tuple[str, ...] = ()
    current: StoredRun | None = None
    last: StoredRun | None = None
    blocked: str = ""
    published: PublishedRun | None = None
    unpublished: str = "nothing is published for it"
    doubted: PublishedRun | None = None
    amounts: Amounts = NOTHING_READ
    settings: Settings = ()  # what a claim's specification changes, by full name; () is the spec's own run
    sites: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def family(self) -> str:
        return self.experiment.family


@dataclass
class RunInspector:
    """Looks at runs against one store; what it reads of models, code, data and published files it reads once.

    Everything that is asked of each run is looked up by name or key: plans have thousands of runs.
    """

    store: RunStore
    sources: Sources
    done: dict[RunName, RunStatus] = field(default_factory=dict)
    points: defaultdict[tuple[str, str, str, Settings], list[RunName]] = field(
        default_factory=lambda: defaultdict(list)
    )
    pasts: list[PastRun] = field(default_factory=list)
    known_facts: dict[tuple[str, str], ModelFacts] = field(default_factory=dict)
    known_templates: dict[str, bool | None] = field(default_factory=dict)
    known_code: dict[str, dict[str, str]] = field(default_factory=dict)
    known_coders: dict[tuple[str, str], GivenCoder] = field(default_factory=dict)
    published: dict[str, PublishedEvidence] = field(default_factory=dict)  # by investigation

    @cached_property
    def root(self) -> Path | None:
        return project_or_none()

    @cached_property
    def book(self) -> CodeBook:
        return CodeBook(self.sources.package, self.store.folder / "code.json")

    @cached_property
    def history(self) -> list[StoredRun]:
        return self.store.runs()

    @cached_property
    def newest(self) -> dict[RunName, StoredRun]:
        """The newest stored run of each name."""
        # The history is oldest first: the last of a name stays.
        return {run.name: run for run in self.history}

    @cached_property
    def by_key(self) -> dict[str, list[StoredRun]]:
        """The stored runs of each key, newest first."""
        found = defaultdict(list)
        for run in reversed(self.history):
            found[run.key].append(run)
        return dict(found)

    @cached_property
    def data(self) -> DataChecks:
        """Remembers what was found sound for as long as the code that reads it is the same."""
        rooms = [self.sources.package / "data" / name for name in ("prompts.py", "corpora.py")]
        reader = digest(canonical(self.book.code_of(*rooms)))
        return DataChecks(self.sources, reader, self.store.folder / "data.json")

    @cached_property
    def failures(self) -> Mapping[RunName, Any]:
        return self.store.failures()

    @cached_property
    def costs(self) -> Costs:
        """Made once everything was examined, so that all published runs have been seen."""
        return Costs(tuple(past_run(run) for run in self.history), tuple(self.pasts))

    def examine(self, investigation: Investigation) -> list[RunStatus]:
        """Every run of the investigation, in the order of the spec."""
        published = read_published(investigation.published_folder)
        self.published[investigation.slug] = published
        self.pasts += [self._past(run, investigation) for run in published.runs.values()]
        self._require_models_spoken_of(investigation)
        specified = specified_settings(investigation.spec, self.sources.catalog)
        found = {
            name: self._experiment(investigation, name, specified[name], published)
            # Those that are used first: their keys are part of the keys of what uses them.
            for name in experiment_order(investigation.spec)
        }
        return [run for name in investigation.spec.experiments for run in found[name]]

    def save(self) -> None:
        """Keep what was read of code and data for the next plan."""
        self.book.save()
        self.data.save()

    def facts(self, name: str, dtype: str) -> ModelFacts:
        """What is known of a model; where its bytes are not here, the last run that saw them remembers."""
        if (name, dtype) not in self.known_facts:
            facts = self.sources.model_facts(name, dtype)
            seen = [run.record for run in self.history if run.name.model == name]
            beside = [run.record.inputs.second for run in self.history if name in run.record.inputs.second]
            # A model that was measured here and cannot be had now leaves its runs current: its bytes count.
            if facts.hash is None and seen:
                layers = int(seen[-1].features.get("layers", 0)) or None
                facts = replace(facts, hash=seen[-1].inputs.model, n_layers=facts.n_layers or layers)
            elif facts.hash is None and beside:
                facts = replace(facts, hash=beside[-1][name])
            self.known_facts[name, dtype] = facts
        return self.known_facts[name, dtype]

    def has_chat_template(self, name: str) -> bool | None:
        """Whether a model has a chat template; None where nothing can be said of it yet."""
        if name not in self.known_templates:
            self.known_templates[name] = self.sources.has_chat_template(name)
        return self.known_templates[name]

    def estimate(self, run: RunStatus) -> CostEstimate:
        """What the run will cost once its model is loaded.

        A second model is loaded within the run, in the first one's place: of the two the larger counts as
        memory, both count as size, and its fetch is the run's.
        """
        facts = self.facts(run.name.model, run.experiment.dtype)
        beside = [self.facts(name, run.experiment.dtype) for name in run.inputs.second]
        facts = replace(facts, n_params=facts.n_params + sum(other.n_params for other in beside))
        cost = self.costs.estimate(run.name, run.family, run.inputs.experiment, facts, run.amounts)
        fetch = sum(model_seconds(other) for other in beside if other.fetch_bytes)
        memory = max([cost.memory_bytes, *(other.memory_bytes for other in beside)])
        return replace(cost, seconds=cost.seconds + fetch, memory_bytes=memory)

    def _require_models_spoken_of(self, investigation: Investigation) -> None:
        """ModelUnknown where a claim is `about` a model that no source has: it would be tested nowhere."""
        for claim_id, claim in investigation.spec.claims.items():
            if claim.about and claim.about not in investigation.spec.models:
                self._facts(investigation, claim.about, "float32", [("claims", claim_id, "about")])

    def _experiment(
        self,
        investigation: Investigation,
        name: str,
        specified: Sequence[Settings],
        published: PublishedEvidence,
    ) -> list[RunStatus]:
        """The runs of one experiment and those that specifications add; what it uses was looked at before."""
        experiment = investigation.spec.experiments[name]
        found: list[RunStatus] = []
        # What is wrong with sites, dictionaries and prompts at each sweep point, by the order of the models.
        faults: defaultdict[tuple[Any, ...], list[InputFault | None]] = defaultdict(list)
        for model in experiment.models or investigation.spec.models:
            where = [("models", i) for i in range(len(investigation.spec.models))]
            facts = self._facts(investigation, model, experiment.dtype, where)
            site, fault = resolved_hook_site(experiment.hook_site, facts.n_layers)
            unavailable = "" if facts.available else facts.reason
            # A specification is measured at every sweep point, as the experiment itself is.
            for settings, point in itertools.product([OWN, *specified], points(experiment)):
                point = point | settings_of(name, settings, investigation.spec)
                run = RunName(investigation.slug, name, tuple(point.items()), model)
                # With the layer as a number: `50%` of 12 and of 24 layers are different experiments.
                asked = normalised(experiment, point, self.sources.catalog) | {"hook_site": site}
                second, out_of_reach = self._second(run, experiment, investigation, asked)
                sites, at_point = self._parameter_sites(run, experiment, asked, second)
                coders = self._coders(experiment, asked)
                spelled = investigation.spellings
                unfit = (
                    coder.fault([model, *second], site, spelled.get(coder.path, coder.path))
                    for coder in coders
                )
                mute = missing_template(
                    experiment, [model, *second], self.sources.catalog, self.has_chat_template
                )
                impossible = fault or at_point or next(filter(None, unfit), None) or mute
                faults[run.point].append(impossible)
                absent = next((coder.absent for coder in coders if coder.absent), "")
                why_not = impossible.reason if impossible else unavailable or out_of_reach or absent
                hashes = {coder.path: coder.hash for coder in coders}
                done = self._run(run, settings, experiment, investigation, asked, second, hashes, why_not)
                found.append(_with_published(replace(done, sites=sites), published))
                self.done[run] = found[-1]
                self.points[run.slug, name, model, settings].append(run)
        # Only where it is so for every model is the spec wrong; on some models it is a run that cannot be
        # measured.
        for on_models in faults.values():
            if on_models[0] and all(on_models):
                raise on_models[0].in_spec(investigation.spec_path, name, experiment)
        return found

    def _parameter_sites(
        self, run: RunName, experiment: Experiment, asked: dict[str, Any], second: dict[str, str | None]
    ) -> tuple[dict[str, list[str]], InputFault | None]:
        """Where the hook sites among the parameters are, in each model that the run reads."""
        named = site_parameters(experiment.family, asked["parameters"], self.sources.catalog)
        layers = {model: self.facts(model, experiment.dtype).n_layers for model in (run.model, *second)}
        return resolved_parameters(named, layers)

    def _coders(self, experiment: Experiment, asked: dict[str, Any]) -> list[GivenCoder]:
        """The dictionaries that an experiment is given, in the order of its parameters."""
        named = {
            name: asked["parameters"].get(name)
            for name in coder_fields(experiment.family, self.sources.catalog)
        }
        found = [(name, path) for name, path in named.items() if path is not None]
        for name, path in found:
            if (name, path) not in self.known_coders:
                self.known_coders[name, path] = given_coder(name, path, self.root)
        return [self.known_coders[name, path] for name, path in found]

    def _facts(self, investigation: Investigation, model: str, dtype: str, places: list[Loc]) -> ModelFacts:
        try:
            return self.facts(model, dtype)
        except ModelUnknown as error:
            written = investigation.spellings.get(model, model)
            error.where = error.where or written_at(investigation.spec_path, written, places)
            raise

    def _second(
        self, run: RunName, experiment: Experiment, investigation: Investigation, asked: dict[str, Any]
    ) -> tuple[dict[str, str | None], str]:
        """The bytes of the model that a run is compared with, by name, and why it cannot be had here."""
        field = second_model_field(experiment.family, self.sources.catalog)
        name = asked["parameters"].get(field)
        if name is None:
            return {}, ""
        loc = ("experiments", run.experiment)
        swept = [(*loc, "sweep", field, i) for i in range(len(experiment.sweep.get(field, [])))]
        places = [(*loc, "parameters", field), *swept]
        facts = self._facts(investigation, name, experiment.dtype, places)
        reason = "" if facts.available else f"{name}, which it is compared with, {facts.reason}"
        if name == run.model:
            reason = "it would be compared with itself"
        return {name: facts.hash}, reason

    def _run(
        self,
        name: RunName,
        settings: Settings,
        experiment: Experiment,
        investigation: Investigation,
        asked: dict[str, Any],
        second: dict[str, str | None],
        coders: dict[str, str],
        blocked: str,
    ) -> RunStatus:
        data, amounts, out_of_reach = self._data(experiment, investigation, name.experiment, asked)
        # The first reason found is the one told: that of the model.
        blocked = blocked or out_of_reach
        needs = {
            f"{role}: {used.label}": used
            for role, other in experiment.uses.items()
            for used in self.points[
                name.slug, other, name.model, inherited(other, settings, investigation.spec)
            ]
        }
        inputs = RunInputs(
            experiment={key: value for key, value in asked.items() if key != "uses"},
            code=self._code(experiment.family),
            model=self.facts(name.model, experiment.dtype).hash,
            data=data,
            # By key and not by id: what a run builds on counts by what it is, wherever it was measured.
            uses={role: self.done[used].inputs.key for role, used in needs.items()},
            second=second,
            coders=coders,
        )
        for used in needs.values():
            if self.done[used].state == "not measurable":
                blocked = blocked or f"uses {used.label}: {self.done[used].reason}"
        judged = self._judged(name, experiment, inputs, tuple(needs.values()), blocked)
        return replace(judged, amounts=amounts, settings=settings)

    def _judged(
        self,
        name: RunName,
        experiment: Experiment,
        inputs: RunInputs,
        needs: tuple[RunName, ...],
        blocked: str,
    ) -> RunStatus:
        """Whether the store has this run with these inputs, and if not, why."""
        last = self.newest.get(name)
        unseen = "never measured here"
        draft = RunStatus(name, experiment, inputs, needs, "new", unseen, last=last, blocked=blocked)
        # By key, not by name: a run that was renamed, or that two experiments share, is measured once.
        same = self.by_key.get(inputs.key or "", [])
        if whole := next((run for run in same if not self.store.damage(run)), None):
            return replace(draft, state="up to date", reason=f"run {whole.id}", current=whole)
        # The key is there and its files are not: nothing changed, and it has to be measured again.
        if same:
            draft = _stale(draft, (f"run {same[0].id} is damaged: {self.store.damage(same[0])}",))
        elif last:
            draft = _stale(draft, explain(last.record.inputs, inputs))
        if failure := self.failures.get(name):
            told = f"the last attempt ({failure.date[:10]}) failed: {failure.reason.splitlines()[0]}"
            draft = replace(draft, reason=f"{draft.reason}; {told}")
        return replace(draft, state="not measurable", reason=blocked) if blocked else draft

    def _past(self, run: PublishedRun, investigation: Investigation) -> PastRun:
        """What a published run teaches of costs; its models' size, where that is no longer known, is 0."""
        name = RunName(investigation.slug, run.experiment, tuple(run.point.items()), run.model)
        asked = run.provenance.asked
        n_params = 0
        # A published run may be of a model that this machine does not know.
        with suppress(ModelUnknown):
            dtype = asked.get("dtype", "float32")
            field = second_model_field(asked.get("family", ""), self.sources.catalog)
            models = filter(None, [run.model, asked.get("parameters", {}).get(field)])
            n_params = sum(self.facts(model, dtype).n_params for model in models)
        return PastRun(name, asked.get("family", ""), run.provenance.seconds, asked, n_params)

    def _code(self, family: str) -> dict[str, str]:
        if family not in self.known_code:
            roots = (self.sources.family_file(family), *self.sources.shared_code)
            self.known_code[family] = self.book.code_of(*roots)
        return self.known_code[family]

    def _data(
        self, experiment: Experiment, investigation: Investigation, name: str, asked: dict[str, Any]
    ) -> tuple[dict[str, str], Amounts, str]:
        """The hashes of prompts, corpus and the prompt sets among the parameters, the amounts of the first
        two, and why one cannot be had here."""
        hashes: dict[str, str] = {}
        prompts = tokens = 0
        out_of_reach = ""
        if experiment.prompts is not None:

            def place(loc: Loc) -> str:
                return places_in(investigation.spec_path)(("experiments", name, "prompts", *loc))

            facts = self.data.prompts(experiment.prompts, investigation.folder, experiment.family, place)
            hashes["prompts"] = facts.hash
            prompts = facts.amount
            out_of_reach = facts.out_of_reach
        if experiment.corpus is not None:
            where = f"{investigation.spec_path}: experiments.{name}.corpus"
            facts = self.data.corpus(experiment.corpus, investigation.folder, where)
            hashes["corpus"] = facts.hash
            tokens = facts.amount
            out_of_reach = out_of_reach or facts.out_of_reach
        further = prompt_parameters(experiment.family, asked["parameters"], self.sources.catalog)
        for parameter, (choice, kind) in further.items():
            facts = self._further_prompts(investigation, experiment, name, parameter, choice, kind)
            hashes[parameter] = facts.hash
            out_of_reach = out_of_reach or facts.out_of_reach
        return hashes, Amounts(prompts, tokens), out_of_reach

    def _further_prompts(
        self,
        investigation: Investigation,
        experiment: Experiment,
        name: str,
        parameter: str,
        choice: PromptChoice,
        kind: PromptKind,
    ) -> DataFacts:
        """The prompt set that a parameter names, which is told at the parameter where it cannot be read."""

        def place(loc: Loc) -> str:
            # The value itself: nothing stands inside of it. A sweep's value is told where the sweep begins.
            section = "sweep" if parameter in experiment.sweep else "parameters"
            return places_in(investigation.spec_path)(("experiments", name, section, parameter))

        return self.data.prompts(choice, investigation.folder, experiment.family, place, kind)


def _stale(draft: RunStatus, changed: tuple[str, ...]) -> RunStatus:
    return replace(draft, state="stale", changed=changed, reason=_summary(changed))


def _with_published(run: RunStatus, published: PublishedEvidence) -> RunStatus:
    """The run with what was committed for it, if that answers the same experiment."""
    found = published.runs.get((run.name.label, run.name.model))
    if found is None:
        return run
    # Only what the spec says itself can contradict what was published; defaults may have come since.
    written = {*run.experiment.parameters, *dict(run.name.point)}
    if other := asked_otherwise(found.provenance.asked, run.inputs.experiment, written):
        return replace(run, unpublished=f"what is published answers another experiment ({_summary(other)})")
    if found.fault:
        return replace(run, doubted=found, unpublished=f"what is published was {found.fault}")
    return replace(run, published=found, unpublished="")


def _summary(changes: list[str] | tuple[str, ...]) -> str:
    shown = "; ".join(changes[:SHOWN_CHANGES])
    more = len(changes) - SHOWN_CHANGES
    return f"{shown}; and {more} more" if more > 0 else shown
