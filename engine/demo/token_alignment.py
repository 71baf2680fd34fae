"""Two prompts token against token, as they are typed: where they differ, and which token is too many.

Patching puts an activation at a position into the same position of another prompt, so that both need as many
tokens. Where they have not, the longest common runs of tokens are laid against each other (`difflib`), and
what has nothing beside it is too many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True)
class TokenColumn:
    """What stands at one place in the clean and in the corrupted prompt; None where one has nothing there.

    Positions count from 0 in each prompt.
    """

    clean: str | None
    corrupted: str | None
    clean_position: int | None
    corrupted_position: int | None

    @property
    def differs(self) -> bool:
        return self.clean != self.corrupted


@dataclass(frozen=True)
class TokenAlignment:
    """Two prompts by column; `problem` says in a sentence what keeps them from being patched, if anything."""

    columns: Sequence[TokenColumn]
    problem: str = ""


def align(clean: Sequence[str], corrupted: Sequence[str]) -> TokenAlignment:
    """Lay two prompts against each other: by position where they are of one length, else by what they
    share."""
    if len(clean) == len(corrupted):
        columns = _columns(clean, corrupted, range(len(clean)), range(len(corrupted)))
        same = list(clean) == list(corrupted)
        return TokenAlignment(columns, "both prompts are the same: there is nothing to patch" if same else "")
    columns: list[TokenColumn] = []
    # `autojunk` would pass over tokens that are frequent in long prompts.
    for _, c0, c1, k0, k1 in SequenceMatcher(None, clean, corrupted, autojunk=False).get_opcodes():
        columns += _columns(clean, corrupted, range(c0, c1), range(k0, k1))
    return TokenAlignment(columns, _too_many(columns, len(clean), len(corrupted)))


def _columns(
    clean: Sequence[str], corrupted: Sequence[str], of_clean: range, of_corrupted: range
) -> list[TokenColumn]:
    """Columns of two stretches, the shorter one with nothing at its end."""
    columns = []
    for i in range(max(len(of_clean), len(of_corrupted))):
        c = of_clean[i] if i < len(of_clean) else None
        k = of_corrupted[i] if i < len(of_corrupted) else None
        columns.append(
            TokenColumn(None if c is None else clean[c], None if k is None else corrupted[k], c, k)
        )
    return columns


def _too_many(columns: Sequence[TokenColumn], n_clean: int, n_corrupted: int) -> str:
    longer = "clean" if n_clean > n_corrupted else "corrupted"
    surplus = abs(n_clean - n_corrupted)
    if longer == "clean":
        alone = [(c.clean, c.clean_position) for c in columns if c.corrupted is None]
    else:
        alone = [(c.corrupted, c.corrupted_position) for c in columns if c.clean is None]
    # As many stand alone as are too many, or more where the shorter prompt has some alone as well.
    named = " and ".join(f"{token} at position {position}" for token, position in alone[:surplus])
    counts = f"clean has {n_clean} tokens, corrupted {n_corrupted}"
    verb = "is" if surplus == 1 else "are"
    return f"{counts}: in the {longer} prompt {named} {verb} too many"
