"""The panels of the demo, one a module, each with a `PANEL`."""
