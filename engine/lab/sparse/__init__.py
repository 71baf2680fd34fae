"""Sparse dictionaries: coders, their training, their measures and how two of them match."""
