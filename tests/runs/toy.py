"""A project whose engine is a toy: real specs, plans, store and ledgers, without torch or a model.

Run as a program (`python toy.py ROOT`) it builds the project in a process of its own; with `--die-at CALL`
in many, each killed at one call of that kind.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import yaml

from engine.errors import ModelUnavailable
from engine.runs.assemble import assemble
from engine.runs.execution.events import Event, Outcome
from engine.runs.execution.scheduler import execute
from engine.runs.investigation import Investigation, find_investigations
from engine.runs.ledger import Ledger
from engine.runs.planning.plan import Plan, make_plan
from engine.runs.sources import ModelFacts, Sources
from engine.runs.store.record import RunName
from engine.runs.store.store import RunStore, open_store

FAMILY = '''"""Count words."""
import time
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel

from engine.evidence.result import Check, Figure, Measurement, Result
from engine.lab.tools import double


class Params(BaseModel, extra="forbid"):
    """What may be set."""

    k: int = 8
    """How many words."""
    seed: int = 0
    wait: float = 0.0
    """At most so many seconds, until there is a file called go."""
    spoil: str = ""


def mean(name, samples, **more):
    rng = np.random.default_rng(0)
    replicates = samples[rng.integers(len(samples), size=(400, len(samples)))].mean(1)
    low, high = np.quantile(replicates, [0.025, 0.975])
    return Measurement(name, float(samples.mean()), float(low), float(high), len(samples), "word",
                       samples=samples, replicates=replicates, **more)


def run(lab, params):
    with (Path(lab.model.root) / "executed.txt").open("a") as out:
        out.write(f"{lab.model.name} k={params.k} seed={params.seed}\\n")
    lab.progress(0.5, "halfway")
    end = time.monotonic() + params.wait
    while time.monotonic() < end and not (Path(lab.model.root) / "go").exists():
        time.sleep(0.02)
    if params.spoil == "error":
        raise RuntimeError("the family has a mistake")
    if params.spoil == "interrupt":
        raise KeyboardInterrupt
    samples = np.arange(20.0) + double(params.k) + sum(
        len(r.result.measurements) for by_point in lab.uses.values() for r in by_point.values()
    )
    score = mean("score", samples, quantity="words", control="chance")
    words = [f"w{i}" for i in range(20)]
    table = pd.DataFrame({"word": words, "score": samples, "n": range(20), "odd": [True, False] * 10})
    if params.spoil == "nan":
        score = Measurement("score", float("nan"), None, None, 20, "word")
    return Result(
        findings=[score, Measurement("n_words", 20, None, None, 20, "word", exact=True)],
        controls=[mean("chance", np.arange(20.0))],
        checks=[Check("identity", 1.0 if params.spoil == "check" else 1e-7, 1e-5, "a equals b")],
        tables={"words": table},
        figures={"scores": Figure("strip", "words", {"x": "word", "y": "score"}, "Scores")},
        arrays={"raw": np.arange(6).reshape(2, 3)},
    )
'''
FILES = {
    "engine/families/count_words.py": FAMILY,
    "engine/evidence/result.py": '"""Evidence."""\nLIMIT = 1\n',
    "engine/lab/tools.py": '"""Tools."""\n\n\ndef double(k):\n    """Twice."""\n    return 2 * k\n',
    "engine/lab/lab.py": "class Lab:\n    pass\n",
    "engine/errors.py": "class EngineError(Exception):\n    pass\n",
    "investigations/words/words.csv": "a,b\n",
    "investigations/words/report.md": "# Words\n",
    "mkdocs.yml": "site_name: toy\n",
    "torch.txt": "2.13.0",
}
MODELS = {"tiny": {"hash": "aa11", "n_layers": 4}, "small": {"hash": "bb22", "n_layers": 12}}


class Toy:
    """The project at `root`; every method reads what lies there now, as a new process would."""

    def __init__(self, root: Path, make: bool = True) -> None:
        self.root = root
        if make:
            for name, text in FILES.items():
                self.write(name, text)
            self.models(**MODELS)
            self.spec()

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text(encoding="utf-8")
        assert old in text
        self.write(name, text.replace(old, new))

    def models(self, **models: dict[str, Any]) -> None:
        self.write("models.json", json.dumps(models))

    def spec(
        self,
        slug: str = "words",
        models: tuple[str, ...] = ("tiny",),
        claims: dict | None = None,
        **experiments,
    ) -> None:
        """Write a spec; experiments are given by name, `count` alone by default."""
        whole = {"title": slug, "question": "How many?", "models": list(models)}
        whole["experiments"] = {
            n: {"family": "count_words", **e} for n, e in (experiments or {"count": {}}).items()
        }
        self.write(
            f"investigations/{slug}/spec.yaml",
            yaml.safe_dump(whole | {"claims": claims or {}}, sort_keys=False),
        )

    def count(self, **parameters: Any) -> None:
        """The spec with one experiment, `count`, and these parameters."""
        self.spec(count={"parameters": parameters})

    @property
    def executed(self) -> list[str]:
        """What the family was run on, line by line."""
        path = self.root / "executed.txt"
        return path.read_text().splitlines() if path.exists() else []

    def sources(self) -> Sources:
        known = json.loads((self.root / "models.json").read_text())

        def facts(name: str, dtype: str) -> ModelFacts:
            m = {"n_params": 1_000_000, "fetch_bytes": 0, "reason": "", **known[name]}
            return ModelFacts(
                m["hash"], m["n_layers"], m["n_params"], m["fetch_bytes"], 10**6, not m["reason"], m["reason"]
            )

        def load(name: str, dtype: str, progress) -> Any:
            with (self.root / "loaded.txt").open("a") as out:
                out.write(f"{name}\n")
            if problem := known[name].get("broken"):
                raise ModelUnavailable(problem)
            layers = known[name].get("true_layers", known[name]["n_layers"])
            shape = SimpleNamespace(n_layers=layers, d_model=8)
            bytes_seen = known[name].get("true_hash", known[name]["hash"])
            return SimpleNamespace(
                name=name,
                hash=bytes_seen,
                quantisation="",
                dtype=dtype,
                device="cpu",
                shape=shape,
                root=str(self.root),
            )

        def data_hash(choice, base: Path) -> str:
            return hashlib.sha256((base / choice.name).read_bytes()).hexdigest()

        def load_corpus(choice, base: Path, model) -> Any:
            words = (base / choice.name).read_text().split()
            ids = words[: choice.tokens]
            amount = f"{len(ids)} words"
            return SimpleNamespace(ids=ids, hash=data_hash(choice, base), source="a toy text", amount=amount)

        package = self.root / "engine"
        catalog: Any = SimpleNamespace(
            names=lambda: sorted(path.stem for path in (package / "families").glob("*.py")),
            params=lambda name: self.family(name).Params,
            inputs=lambda name: getattr(self.family(name), "inputs", None),
        )
        prompts: Any = SimpleNamespace(table=[1, 2, 3], source="a toy set", amount="3 prompts")
        return Sources(
            catalog=catalog,
            family_file=lambda name: package / "families" / f"{name}.py",
            family=self.family,
            model_facts=facts,
            has_chat_template=lambda name: known[name].get("chat_template"),
            data_hash=data_hash,
            load_prompts=lambda choice, base, kind: prompts,
            check_prompts=lambda choice, base, kind, place: len(prompts.table),
            corpus_hash=data_hash,
            check_corpus=lambda choice, base: choice.tokens or 0,
            load_corpus=load_corpus,
            load_model=load,
            make_lab=partial(SimpleNamespace, receipts=[]),
            versions=lambda: {"python": "3.11", "torch": (self.root / "torch.txt").read_text()},
            package=package,
            shared_code=(package / "lab" / "lab.py",),
            maker=partial(sources_at, self.root),
        )

    def family(self, name: str) -> ModuleType:
        """The family as its file is now, its own import of the toy lab replaced by the toy's."""
        family = ModuleType(name)
        for path in (self.root / "engine/lab/tools.py", self.root / f"engine/families/{name}.py"):
            source = path.read_text().replace("from engine.lab.tools import double", "")
            exec(compile(source, str(path), "exec"), family.__dict__)
        return family

    def investigations(self) -> list[Investigation]:
        return find_investigations(self.root, self.sources().catalog)

    def store(self) -> RunStore:
        return open_store(self.root)

    def plan(self, **options: Any) -> Plan:
        with self.store() as store:
            return make_plan(self.investigations(), store, self.sources(), **options)

    def build(
        self,
        on_event=lambda event: None,
        jobs: int | None = 1,
        cluster: str | None = None,
        **options: Any,
    ) -> dict[RunName, Outcome]:
        with self.store() as store:
            plan = make_plan(self.investigations(), store, self.sources(), **options)
            return execute(plan, store, self.sources(), on_event, jobs=jobs, cluster=cluster)

    def ledger(self, measure: bool = True, **options: Any) -> Ledger:
        """The ledger of the first investigation after a build."""
        with self.store() as store:
            plan = make_plan(self.investigations(), store, self.sources(), **options)
            outcomes = execute(plan, store, self.sources()) if measure else {}
            first = next(iter(plan.investigations.values()))
            return assemble(first, store, plan, outcomes)


def sources_at(root: Path) -> Sources:
    """The sources of the toy project at `root`, in whatever process this is called."""
    return Toy(root, make=False).sources()


def _tell(event: Event) -> None:
    print(event.kind, event.message, flush=True)


def die_at(what: str, nth: int) -> None:
    """From now on the nth such call kills this process: just before it, a rename just after it."""
    owner: Any = RunStore if what == "insert" else os
    name = "_insert" if what == "insert" else what
    call, calls = getattr(owner, name), 0

    def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        result = call(*arguments, **more) if what == "rename" else None
        if calls == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result if what == "rename" else call(*arguments, **more)

    setattr(owner, name, counted)


def die_everywhere(toy: Toy, what: str) -> None:
    """Build in children that die at the first such call, at the second, ...; say what each left behind."""
    for heavy in ("pandas", "pyarrow.parquet", "safetensors.numpy"):  # once, not in every child
        importlib.import_module(heavy)
    for nth in range(1, 40):
        child = os.fork()
        if not child:
            die_at(what, nth)
            toy.build()
            os._exit(0)
        survived = os.waitpid(child, 0)[1] == 0
        with toy.store() as store:
            runs = store.runs()
            folders = sorted(p.name for p in (store.folder / "runs").iterdir())
            whole = folders == [str(run.id) for run in runs] and not any(map(store.damage, runs))
            store.remove(runs)
        if survived:
            print("survived" if whole else "damaged", flush=True)
            return
        print(f"killed, {len(runs)} runs" if whole else f"left {folders}", flush=True)


if __name__ == "__main__":
    project = Toy(Path(sys.argv[1]), make=False)
    if "--die-at" in sys.argv:
        die_everywhere(project, sys.argv[-1])
    else:
        project.build(_tell)
