"""The panels in the order of their tabs."""

from __future__ import annotations

from typing import Any

from engine.demo.panel import Panel
from engine.demo.panels import circuit_patching, logit_lens, sae_features, steering

PANELS: tuple[Panel[Any, Any], ...] = (
    circuit_patching.PANEL,
    logit_lens.PANEL,
    sae_features.PANEL,
    steering.PANEL,
)
"""The first is what an address without a panel shows."""
