"""Investigations, runs and models as Python objects, for a notebook or a script; see `engine/__init__.py`."""
