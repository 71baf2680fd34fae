"""Circuits: a model as a graph of what writes to its residual stream and what reads from it."""
