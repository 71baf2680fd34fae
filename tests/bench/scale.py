"""What the large study costs, worked out from throughput that was measured.

python -m tests.bench.scale --measure [--model NAME] [--tokens N]   adds this machine to site/scale.json
python -m tests.bench.scale                                         works the page's tables out again

The study is `STUDY`. Harvest: seconds a token grow with the parameters of the blocks that are run, once for
all sites of a model. Training: seconds a token are a + b * d * n_features, fitted to what was measured, with
neither below zero. Memory of a training: weights, gradients and Adam's two moments of both matrices in
float32, two matrices "batch latent", and what the process took besides, by the median of what was measured.
Every number of site/scale.md between its markers comes from here.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
from scipy.optimize import nnls

SITE = Path(__file__).parents[2] / "site"
NUMBERS, PAGE = SITE / "scale.json", SITE / "scale.md"
FLOAT_BYTES = 4
HOUR, WEEK_HOURS = 3600.0, 168.0


@dataclass(frozen=True)
class StudyModel:
    """A model as far as cost goes; `block_parameters` are those outside the embeddings."""

    name: str
    block_parameters: float
    d: int


@dataclass(frozen=True)
class Study:
    """Every model at some layers, each with SAEs of every width from every seed, on so many tokens."""

    models: tuple[StudyModel, ...]
    layers: int = 5
    widths: tuple[int, ...] = (2048, 4096, 8192, 16384)
    seeds: int = 20
    tokens: float = 500e6
    batch_size: int = 4096
    bytes_per_value: int = 2  # bfloat16

    @property
    def saes_per_model(self) -> int:
        return self.layers * len(self.widths) * self.seeds


STUDY = Study(
    models=(
        StudyModel("gpt2", 85.1e6, 768),
        StudyModel("pythia-410m", 302.3e6, 1024),
        StudyModel("qwen2.5-1.5b-instruct", 1310.0e6, 1536),
    )
)


@dataclass(frozen=True)
class Harvested:
    """A measured harvest: `block_parameters` of the blocks that were run."""

    model: str
    block_parameters: float
    tokens_per_second: float
    peak_bytes: float


@dataclass(frozen=True)
class TrainedAt:
    """A measured training."""

    d: int
    n_features: int
    k: int
    batch_size: int
    tokens_per_second: float
    peak_bytes: float


@dataclass(frozen=True)
class Machine:
    """What was measured on one machine."""

    name: str
    date: str
    harvests: tuple[Harvested, ...]
    trainings: tuple[TrainedAt, ...]

    def nearest(self, model: StudyModel) -> Harvested:
        """The measured harvest of the model that is nearest in size."""
        return min(self.harvests, key=lambda h: abs(np.log(h.block_parameters / model.block_parameters)))

    def harvest_seconds_per_token(self, model: StudyModel) -> float:
        """By the nearest measured model, in proportion to the parameters that are run."""
        like = self.nearest(model)
        return model.block_parameters / like.block_parameters / like.tokens_per_second

    def harvest_bytes(self, model: StudyModel) -> float:
        """Peak memory of a harvest: the nearest model's, and the float32 weights that this one has more."""
        like = self.nearest(model)
        return like.peak_bytes + FLOAT_BYTES * max(model.block_parameters - like.block_parameters, 0.0)

    def training_seconds_per_token(self, d: int, n_features: int) -> float:
        """a + b * d * n_features, the least squares of relative errors."""
        seconds = np.array([1 / t.tokens_per_second for t in self.trainings])
        sizes = np.array([[1.0, t.d * t.n_features] for t in self.trainings])
        (a, b), _ = nnls(sizes / seconds[:, None], np.ones(len(seconds)))
        return float(a + b * d * n_features)

    def training_bytes(self, d: int, n_features: int, batch_size: int) -> float:
        """Peak memory of one training."""
        rest = [t.peak_bytes - _tensors(t.d, t.n_features, t.batch_size) for t in self.trainings]
        return _tensors(d, n_features, batch_size) + max(median(rest), 0.0)


def _tensors(d: int, n_features: int, batch_size: int) -> float:
    return FLOAT_BYTES * (4 * 2 * d * n_features + 2 * batch_size * n_features)


@dataclass(frozen=True)
class Cost:
    """What one model of the study costs on one machine, with the disk for activations and for SAEs."""

    model: str
    saes: int
    harvest_hours: float
    training_hours: float
    activation_bytes: float
    sae_bytes: float
    memory_bytes: float

    @property
    def hours(self) -> float:
        return self.harvest_hours + self.training_hours


def costs(machine: Machine, study: Study = STUDY) -> list[Cost]:
    """A cost for each model of the study."""
    return [_cost(machine, study, model) for model in study.models]


def _cost(machine: Machine, study: Study, model: StudyModel) -> Cost:
    per_width = [machine.training_seconds_per_token(model.d, width) for width in study.widths]
    training = sum(per_width) * study.layers * study.seeds * study.tokens
    parameters = sum(2 * model.d * width + width + model.d for width in study.widths)
    widest = machine.training_bytes(model.d, max(study.widths), study.batch_size)
    return Cost(
        model.name,
        study.saes_per_model,
        machine.harvest_seconds_per_token(model) * study.tokens / HOUR,
        training / HOUR,
        study.tokens * study.layers * model.d * study.bytes_per_value,
        FLOAT_BYTES * parameters * study.layers * study.seeds,
        max(widest, machine.harvest_bytes(model)),
    )


def read(path: Path = NUMBERS) -> list[Machine]:
    """The machines that were measured."""
    rows = json.loads(path.read_text(encoding="utf-8"))["machines"]
    return [
        Machine(
            row["name"],
            row["date"],
            tuple(Harvested(**h) for h in row["harvests"]),
            tuple(TrainedAt(**t) for t in row["trainings"]),
        )
        for row in rows
    ]


def write(machines: Sequence[Machine], numbers: Path = NUMBERS, page: Path = PAGE) -> None:
    """The numbers with what they come to, and the page with its tables anew."""
    told = [{**asdict(m), "study": [asdict(c) | {"hours": c.hours} for c in costs(m)]} for m in machines]
    text = json.dumps({"study": asdict(STUDY), "machines": told}, indent=1)
    numbers.write_text(text + "\n", encoding="utf-8")
    page.write_text(filled(page.read_text(encoding="utf-8"), machines), encoding="utf-8")


def filled(page: str, machines: Sequence[Machine]) -> str:
    """The page with what stands between its markers worked out from the machines."""
    for name, made in BLOCKS.items():
        start, end = f"<!-- scale: {name} -->", "<!-- end -->"
        body = made(machines) if machines or made is _described else "Not measured yet."
        pattern = re.escape(start) + r".*?" + re.escape(end)
        page = re.sub(pattern, lambda _, all=f"{start}\n{body}\n{end}": all, page, flags=re.S)
    return page


def _study(machines: Sequence[Machine]) -> str:
    head = ["model", "SAEs", "harvest", "training", "activations", "SAEs on disk", "peak memory"]
    parts = []
    for machine in machines:
        rows = costs(machine)
        total = sum(c.hours for c in rows)
        lines = [
            (
                c.model,
                f"{c.saes:,}",
                hours(c.harvest_hours),
                hours(c.training_hours),
                size(c.activation_bytes),
                size(c.sae_bytes),
                size(c.memory_bytes),
            )
            for c in rows
        ]
        parts.append(f"**{machine.name}**, measured on {machine.date}:\n\n{table(head, lines)}")
        week = f"{total / WEEK_HOURS:,.0f}" if total >= WEEK_HOURS else "less than one"
        parts.append(f"In all {hours(total)}: {week} of these machines for a week.")
    return "\n\n".join(parts)


def _described(machines: Sequence[Machine]) -> str:
    models = ", ".join(f"`{m.name}`" for m in STUDY.models)
    widths = ", ".join(f"{w:,}" for w in STUDY.widths)
    return (
        f"{len(STUDY.models)} models ({models}), {STUDY.layers} layers of each, "
        f"dictionaries of {widths} latents, {STUDY.seeds} seeds, {count(STUDY.tokens)} tokens for each SAE: "
        f"{STUDY.saes_per_model * len(STUDY.models):,} SAEs."
    )


def _measured(machines: Sequence[Machine]) -> str:
    harvests = [
        (m.name, h.model, count(h.block_parameters), f"{h.tokens_per_second:,.0f}", size(h.peak_bytes))
        for m in machines
        for h in m.harvests
    ]
    trainings = [
        (
            m.name,
            f"{t.d:,}",
            f"{t.n_features:,}",
            str(t.k),
            f"{t.tokens_per_second:,.0f}",
            f"{1 / m.training_seconds_per_token(t.d, t.n_features):,.0f}",
            size(t.peak_bytes),
        )
        for m in machines
        for t in m.trainings
    ]
    return "\n\n".join(
        [
            "Harvest:",
            table(["machine", "model", "parameters run", "tokens a second", "peak memory"], harvests),
            "Training, with what the fit says beside it:",
            table(
                ["machine", "d", "latents", "k", "tokens a second", "by the fit", "peak memory"], trainings
            ),
        ]
    )


def _billion(machines: Sequence[Machine]) -> str:
    tokens = 1e9
    rows = []
    for machine, model in product(machines, STUDY.models):
        harvest = machine.harvest_seconds_per_token(model) * tokens / HOUR
        training = [machine.training_seconds_per_token(model.d, w) * tokens / HOUR for w in STUDY.widths]
        disk = tokens * model.d * STUDY.bytes_per_value
        rows.append((machine.name, model.name, size(disk), hours(harvest), *map(hours, training)))
    widths = [f"one SAE of {w:,}" for w in STUDY.widths]
    return table(["machine", "model", "activations of a site", "harvest", *widths], rows)


BLOCKS: Mapping[str, Callable[[Sequence[Machine]], str]] = {
    "description": _described,
    "study": _study,
    "measured": _measured,
    "billion": _billion,
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def hours(value: float) -> str:
    """`2.4 h`, or `31 min`."""
    return f"{value:,.0f} h" if value >= 10 else f"{value:.1f} h" if value >= 1 else f"{value * 60:.0f} min"


def size(value: float) -> str:
    """`3.8 TB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def count(value: float) -> str:
    """`500 million`."""
    return f"{value / 1e9:.3g} billion" if value >= 1e9 else f"{value / 1e6:.3g} million"


def measured(model_name: str, tokens: int, widths: Sequence[int], k: int, batch_size: int) -> Machine:
    """Harvest and train here: the middle layer's activations, a dictionary of each width on all of them."""
    from engine.data.corpora import load_corpus
    from engine.lab.harvest import harvest
    from engine.lab.sparse.autoencoder import train
    from engine.models.load import load
    from engine.runs.execution.resources import device_name, peak_bytes, start_peak
    from engine.runs.store.store import now
    from engine.spec.models import CorpusChoice

    model = load(model_name)
    layer = model.shape.n_layers // 2
    site = f"blocks.{layer}.hook_resid_pre"
    corpus = load_corpus(CorpusChoice(name="smollm2-samples", tokens=tokens), SITE, model)
    start_peak()
    trainings = []
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        acts = harvest(model, corpus, [site], folder=Path(folder), tokens=tokens)
        rate = acts.n_tokens / (time.perf_counter() - began)
        blocks = sum(w.numel() for n, w in model.weights.items() if re.search(r"\.(layers|h)\.\d+\.", n))
        harvested = Harvested(model_name, blocks * layer / model.shape.n_layers, rate, peak_bytes())
        first = next(acts.batches(site, batch_size, 0))
        train([first, first], model.shape.d_model, widths[0], k, n_steps=2)  # what only the first one pays
        for width in widths:
            start_peak()
            n_steps = acts.n_tokens // batch_size
            began = time.perf_counter()
            train(
                acts.batches(site, batch_size, 0),
                model.shape.d_model,
                width,
                k,
                n_steps=n_steps,
                dead_after_tokens=acts.n_tokens // 4,  # so that the auxiliary loss has its share of the time
            )
            rate = n_steps * batch_size / (time.perf_counter() - began)
            trainings.append(TrainedAt(model.shape.d_model, width, k, batch_size, rate, peak_bytes()))
    return Machine(device_name(model.device), now()[:10], (harvested,), tuple(trainings))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--widths", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=STUDY.batch_size)
    given = parser.parse_args()
    machines = read()
    if given.measure:
        new = measured(given.model, given.tokens, given.widths, given.k, given.batch_size)
        machines = [m for m in machines if m.name != new.name] + [new]
    write(machines)
    print(filled("<!-- scale: study --><!-- end -->", machines))


if __name__ == "__main__":
    main()
