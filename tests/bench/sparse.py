"""Training of Top-K and BatchTopK autoencoders against SAELens and dictionary_learning, interleaved.

    python -m tests.bench.sparse [--rounds 5] [--steps 60] [--environments FOLDER] [--harvest MODEL SITE]

Every contender sees the same rows in the same order, takes as many steps at the same learning rate, schedule,
k, width and batch, with auxiliary loss and firing statistics, each in an environment and process of its own.
The rivals' environments are made where they are missing. Rows are sums of known directions, or, with
--harvest, a model's activations over the packaged corpus; scaled beforehand to a mean squared norm of d.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.lab.sparse.gradients import Objective
from engine.lab.sparse.synthetic import known_dictionary, sparse_batches
from engine.lab.sparse.trainer import Recipe, Training
from tests.bench.memory import tensor_peak
from tests.bench.options import options, show
from tests.bench.rounds import moment, tell

CONTENDERS = Path(__file__).parent / "contenders"
ROOT = Path(__file__).parents[2]
BARS = {"saelens": 2.5, "dictionary_learning": 1.7}
RIVALS = {"saelens": "sae-lens==6.54.12", "dictionary_learning": "dictionary-learning==0.1.0"}
FILES = {"ours": "ours.py", "saelens": "saelens.py", "dictionary_learning": "dictionary_learning_.py"}
HELD_OUT = 4096


def environment(name: str, folder: Path) -> str:
    """The Python of an environment that holds a rival, made where it is not there yet (minutes)."""
    place = folder / name
    python = place / "bin" / "python"
    done = place / ".installed"
    if done.is_file() and done.read_text() == RIVALS[name]:
        return str(python)
    print(f"installing {RIVALS[name]} into {place} (some minutes)", file=sys.stderr, flush=True)
    version = torch.__version__.partition("+")[0]
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, f"torch=={version}", RIVALS[name]], check=True)
    # nnsight brings torchvision, whose build may not fit a CPU torch; where there is none, no one misses it
    subprocess.run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision"], check=True)
    done.write_text(RIVALS[name])
    return str(python)


def made_up_rows(d: int, n: int) -> Tensor:
    """Sums of 20 of 8 d known directions, with noise."""
    features = known_dictionary(d, 8 * d, seed=0)
    batches = sparse_batches(
        features, active=20, batch_size=2048, n_batches=-(-n // 2048), seed=1, noise=0.05
    )
    return torch.cat(list(batches))[:n]


def harvested_rows(model_name: str, site: str, n: int) -> Tensor:
    """Shuffled activations of a model over the packaged corpus."""
    from engine.data.corpora import load_corpus
    from engine.lab.harvest import harvest
    from engine.models.load import load
    from engine.spec.models import CorpusChoice

    model = load(model_name)
    corpus = load_corpus(CorpusChoice(name="smollm2-samples"), Path(), model)
    acts = harvest(model, corpus, [site], folder=None, tokens=n)
    return acts.rows(acts.site, torch.randperm(acts.n_tokens, generator=torch.Generator().manual_seed(0)))


def write_rows(rows: Tensor, path: Path) -> None:
    """Rows scaled to a mean squared norm of d, the last of them held out."""
    scaled = rows * (rows.shape[1] / rows.square().sum(dim=1).mean()).sqrt()
    held_out = min(HELD_OUT, len(rows) // 5)
    save_file({"train": scaled[:-held_out].contiguous(), "held_out": scaled[-held_out:].contiguous()}, path)


def one(name: str, python: str, settings: dict[str, Any]) -> dict[str, Any]:
    """One contender's training, in a process of its own."""
    variables = os.environ | {
        "PYTHONPATH": str(ROOT) if name == "ours" else "",
        "OMP_NUM_THREADS": str(settings["threads"]),
        "MKL_NUM_THREADS": str(settings["threads"]),
        "WANDB_MODE": "disabled",
    }
    command = [python, str(CONTENDERS / FILES[name.partition(",")[0]]), json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def entrants(kind: str, pythons: dict[str, str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Who competes: us, and every rival, SAELens's Top-K also with its sparse activations."""
    found: list[tuple[str, str, dict[str, Any]]] = [("ours", sys.executable, {})]
    found += [(name, python, {}) for name, python in pythons.items()]
    if kind == "topk" and "saelens" in pythons:
        found.append(("saelens, sparse", pythons["saelens"], {"sparse_activations": True}))
    return found


def contest(
    settings: dict[str, Any],
    pythons: dict[str, str],
    rounds: int,
    kinds: tuple[str, ...] = ("topk", "batchtopk"),
) -> list[dict[str, Any]]:
    """Every round of every kind and contender, one after the other."""
    rows = []
    for number in range(rounds):
        for kind in kinds:
            for name, python, more in entrants(kind, pythons):
                about = {"kind": kind, "contender": name, "round": number}
                row = about | moment() | one(name, python, settings | more | {"kind": kind})
                tell("sparse coders", number + 1, rounds, {k: v for k, v in row.items() if k != "round"})
                rows.append(row)
    return rows


def summary(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Medians by kind and contender; `ours_over` is the median over rounds of our speed over theirs."""
    table = pd.DataFrame(rows)
    ours = table[table["contender"] == "ours"].set_index(["kind", "round"])["tokens_per_second"]
    places = pd.MultiIndex.from_arrays([table["kind"], table["round"]])
    table["ours_over"] = ours.reindex(places).to_numpy() / table["tokens_per_second"].to_numpy()
    medians = table.groupby(["kind", "contender"], sort=False).median()
    columns = ["tokens_per_second", "ours_over", "loss", "peak_bytes", "gflops", "load"]
    return medians[columns].reset_index()


def training_tensors(settings: dict[str, Any]) -> float:
    """What our training holds at its peak, weights and moments included: times the weights, rows not counted.

    The processes' peaks have Python, torch and the pages of the file of rows in them; this has the trainer's
    own tensors alone.
    """
    d = settings["d"]
    objective = Objective("topk", settings["k"], (d,), d // 2)
    recipe = Recipe(objective, settings["lr"], n_steps=2, dead_after_tokens=settings["batch_size"])
    rows = made_up_rows(d, 2 * settings["batch_size"]).split(settings["batch_size"])
    weights = 4 * (2 * settings["n_features"] * d + settings["n_features"] + d)

    def train() -> None:
        training = Training.start(recipe, torch.zeros(d), settings["n_features"], seed=0)
        for batch in rows:
            training.advance(batch)

    return tensor_peak(train) / weights


def report(found: dict[str, Any]) -> str:
    """The numbers as a table, each ratio beside its bar."""
    table = pd.DataFrame(found["training"])
    table["bar"] = [BARS.get(str(name).partition(",")[0], float("nan")) for name in table["contender"]]
    table["peak_mb"] = table.pop("peak_bytes") / 1e6
    table = table.round(
        {"tokens_per_second": 0, "ours_over": 2, "loss": 4, "gflops": 0, "load": 1, "peak_mb": 0}
    )
    s = found["settings"]
    head = (
        f"{s['n_features']} latents of {s['d']} dimensions, k = {s['k']}, {s['n_steps']} steps of "
        f"{s['batch_size']} tokens, fp32, {s['threads']} threads, {found['rows']}; medians of "
        f"{found['rounds']} rounds; loss: held-out squared error over variance after the last step"
    )
    held = f"our training's tensors at their peak: {found['training_tensors']:.1f} times the weights"
    return f"{head}\n{table.to_string(index=False, na_rep='')}\n{held}"


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as plain numbers."""
    rivals = {name: environment(name, given.environments) for name in given.rivals}
    with tempfile.TemporaryDirectory() as scratch:
        path, n = Path(scratch) / "activations.safetensors", given.tokens
        rows = made_up_rows(given.d, n)
        if given.harvest:
            model_name, site = given.harvest
            rows = harvested_rows(model_name, site, n)
        write_rows(rows, path)
        settings = {
            "activations": str(path),
            "d": rows.shape[1],
            "n_features": given.features,
            "k": given.k,
            "batch_size": given.batch_size,
            "n_steps": given.steps,
            "warm_steps": max(1, given.steps // 10),
            "lr": given.lr,
            "seed": 0,
            "threads": given.threads,
            "dead_after_tokens": given.steps // 4 * given.batch_size,
        }
        table = summary(contest(settings, rivals, given.rounds))
    about = f"activations of {given.harvest[0]} at {given.harvest[1]}" if given.harvest else "made-up rows"
    told = {name: value for name, value in settings.items() if name != "activations"}
    return {
        "settings": told,
        "rounds": given.rounds,
        "rows": about,
        "training": table.to_dict("records"),
        "training_tensors": training_tensors(settings),
    }


def parser() -> argparse.ArgumentParser:
    """The options, whose defaults are what `make bench` measures."""
    found = options(__doc__)
    found.add_argument("--steps", type=int, default=60)
    found.add_argument("--batch-size", type=int, default=2048)
    found.add_argument("--features", type=int, default=4096)
    found.add_argument("--k", type=int, default=32)
    found.add_argument("--d", type=int, default=576, help="of made-up rows")
    found.add_argument("--tokens", type=int, default=65_536, help="rows to train on, again and again")
    found.add_argument("--lr", type=float, default=1e-3)
    found.add_argument("--threads", type=int, default=torch.get_num_threads())
    found.add_argument("--rivals", nargs="*", choices=list(RIVALS), default=list(RIVALS))
    found.add_argument("--environments", type=Path, default=ROOT / ".engine" / "bench-envs")
    found.add_argument("--harvest", nargs=2, metavar=("MODEL", "SITE"))
    return found


def main(arguments: list[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    show(run(given), report, given.json)


if __name__ == "__main__":
    main()
