"""This engine's trainer."""

import torch
from common import compete, task

from engine.lab.sparse.autoencoder import finished
from engine.lab.sparse.gradients import Objective
from engine.lab.sparse.trainer import Recipe, Training

settings = task()
d = settings["d"]
objective = Objective(settings["kind"], settings["k"], (d,), d // 2)
recipe = Recipe(objective, settings["lr"], settings["n_steps"], settings["dead_after_tokens"])
training = Training.start(recipe, torch.zeros(d), settings["n_features"], settings["seed"])
compete(settings, training.advance, lambda: finished(training, scale=1.0).coder.reconstruct)
