"""The same inputs give the same codes here and in SAELens, both ways: what we write and what it writes.

    python -m tests.bench.saelens_parity --python PATH

PATH is the Python of an environment that holds sae-lens (`tests.bench.sparse` makes one). It is also a test,
skipped where the variable SAELENS_PYTHON names none.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from engine.lab.sparse.coder import Coder, unit_rows
from engine.lab.sparse.saelens import read_saelens, write_saelens

LIMIT = 1e-5
D, LATENTS, K, ROWS = 48, 256, 8, 200

THEIRS = """
import sys
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from sae_lens import SAE
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig

folder = Path(sys.argv[1])
x = load_file(folder / "x.safetensors")["x"]
d, latents, k = x.shape[1], int(sys.argv[2]), int(sys.argv[3])

def keep(name, sae):
    with torch.no_grad():
        codes = sae.encode(x)
        save_file({"codes": codes.contiguous(), "decoded": sae.decode(codes).contiguous()},
                  folder / f"{name}.codes.safetensors")

for place in sorted((folder / "ours").iterdir()):
    keep(f"ours-{place.name}", SAE.load_from_disk(place))

made = {
    "topk": TopKSAE(TopKSAEConfig(d_in=d, d_sae=latents, k=k)),
    "rescaled": TopKSAE(TopKSAEConfig(d_in=d, d_sae=latents, k=k, rescale_acts_by_decoder_norm=True)),
    "jumprelu": JumpReLUSAE(JumpReLUSAEConfig(d_in=d, d_sae=latents)),
    "standard": StandardSAE(StandardSAEConfig(d_in=d, d_sae=latents, apply_b_dec_to_input=False)),
}
torch.manual_seed(0)
for name, sae in made.items():
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    sae.save_model(folder / "theirs" / name)
    keep(f"theirs-{name}", sae)
"""


def coders() -> dict[str, Coder]:
    """One of each kind, at a scale other than 1."""
    g = torch.Generator().manual_seed(0)
    W_dec = unit_rows(torch.randn(LATENTS, D, generator=g))
    W_enc = W_dec.T + 0.1 * torch.randn(D, LATENTS, generator=g)
    b_enc, b_dec = 0.1 * torch.randn(LATENTS, generator=g), torch.randn(D, generator=g)
    return {
        "topk": Coder(W_enc, b_enc, W_dec, b_dec, "topk", K, None, 0.7),
        "batchtopk": Coder(W_enc, b_enc, W_dec, b_dec, "batchtopk", K, 0.9, 0.7),
        "relu": Coder(W_enc, b_enc, W_dec, b_dec, "relu", 0, None, 0.7),
    }


def differences(python: str) -> dict[str, float]:
    """Largest difference of codes and of what they decode to, for each folder written here or there.

    Relative to the largest value where that is above 1.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, mine = Path(name), coders()
        x = torch.randn(ROWS, D, generator=torch.Generator().manual_seed(1)) + 0.5
        save_file({"x": x}, folder / "x.safetensors")
        for kind, coder in mine.items():
            write_saelens(
                coder, folder / "ours" / kind, model_name="none", hook_name="blocks.0.hook_resid_pre"
            )
        command = [python, "-c", THEIRS, str(folder), str(LATENTS), str(K)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"SAELens could not read or write a folder:\n{done.stderr[-3000:]}")
        found = {f"ours-{kind}": coder.folded() for kind, coder in mine.items()}
        for place in sorted((folder / "theirs").iterdir()):
            found[f"theirs-{place.name}"] = read_saelens(place)[0]
        return {
            name: _difference(coder, x, folder / f"{name}.codes.safetensors") for name, coder in found.items()
        }


def _difference(coder: Coder, x: torch.Tensor, path: Path) -> float:
    theirs, codes = load_file(path), coder.encode(x)
    assert codes.any(), "a comparison of nothing"
    pairs = [(codes, theirs["codes"]), (coder.decode(codes), theirs["decoded"])]
    return max(float((ours - other).abs().max() / other.abs().max().clamp_min(1)) for ours, other in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--python", default=os.environ.get("SAELENS_PYTHON"), help="of an environment with sae-lens"
    )
    given = parser.parse_args()
    if not given.python:
        parser.error("no environment with sae-lens is named")
    found = differences(given.python)
    for name, difference in found.items():
        print(f"{name}: largest difference {difference:.1e} (bar: {LIMIT:.0e})")
    raise SystemExit(max(found.values()) > LIMIT)


if __name__ == "__main__":
    main()
