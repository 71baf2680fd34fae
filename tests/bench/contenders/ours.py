"""This engine's trainer."""

import torch
from common import compete, task

from engine.lab.sparse.gradients import Objective
from engine.lab.sparse.train import Recipe, Training

settings = task()
objective = Objective(settings["kind"], settings["k"], 1 / 32, settings["d"] // 2)
recipe = Recipe(objective, settings["lr"], settings["n_steps"], settings["dead_after_tokens"])
training = Training.start(
    recipe, torch.zeros(settings["d"]), settings["n_features"], settings["seed"], scale=1.0
)
compete(settings, training.advance, lambda: training.finished().coder.reconstruct)
