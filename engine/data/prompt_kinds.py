"""The kinds of prompts: which columns a row of each must have, and what makes two rows one observation.

A row is what it says, not what it is called: two rows of equal content under two ids would count as two
observations of one. What counts as content is declared here for each kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from engine.spec.inputs import ANSWERS, CHAT, CONTRAST, LABELLED, PAIRS, PromptKind


@dataclass(frozen=True)
class PromptColumns:
    """The columns of one kind.

    `required` and, where a file has them, `optional` ones hold text in every row; `blank` ones may be left
    empty. `identity` is what a row is, `unit` that in words. `unequal` names columns that must differ within
    a row, `parts` those that are a part of another column's text. A limit takes as evenly as it can from the
    entries of each of `strata`, the outermost first; of each the first column counts that a file has.
    """

    kind: PromptKind
    noun: str
    unit: str
    required: tuple[str, ...]
    identity: tuple[str, ...]
    optional: tuple[str, ...] = ()
    blank: tuple[str, ...] = ()
    unequal: tuple[tuple[str, str], ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    strata: tuple[tuple[str, ...], ...] = (("relation",),)
    hint: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """The required columns that a model reads or a method compares."""
        return tuple(column for column in self.required if column not in ("id", "relation"))

    def fits(self, columns: Iterable[str]) -> bool:
        """Whether a row with these columns has all that is required."""
        return set(self.required) <= set(columns)


TOPICS = ("relation", "topic", "template")
KINDS: dict[PromptKind, PromptColumns] = {
    PAIRS: PromptColumns(
        PAIRS,
        noun="pairs",
        unit="clean prompt",
        required=("id", "relation", "clean", "corrupted", "answer", "wrong_answer"),
        # A lens reads nothing else of a pair. A pair and its swap have different clean prompts, and both
        # stand.
        identity=("clean",),
        unequal=(("clean", "corrupted"), ("answer", "wrong_answer")),
        parts={"subject": "clean", "corrupted_subject": "corrupted"},
        hint="a clean prompt with a second corrupted one goes into a prompt set of its own",
    ),
    ANSWERS: PromptColumns(
        ANSWERS,
        noun="prompts with answers",
        unit="prompt",
        required=("prompt", "answer"),
        identity=("prompt",),
        optional=("relation", "wrong_answer"),
        unequal=(("answer", "wrong_answer"),),
        parts={"subject": "prompt"},
    ),
    CONTRAST: PromptColumns(
        CONTRAST,
        noun="contrasts",
        unit="pair of texts",
        required=("positive", "negative"),
        identity=("positive", "negative"),
        unequal=(("positive", "negative"),),
        strata=(TOPICS,),
    ),
    LABELLED: PromptColumns(
        LABELLED,
        noun="labelled texts",
        unit="text",
        required=("text", "label"),
        identity=("text",),
        strata=(("label",), TOPICS),
        hint="a text has one label",
    ),
    CHAT: PromptColumns(
        CHAT,
        noun="chat requests",
        unit="request with its system text",
        required=("request",),
        identity=("request", "system"),
        blank=("system",),
        # Requests may be of two kinds, such as harmful and harmless ones.
        strata=(("label",), TOPICS),
    ),
}


def kinds_that_fit(columns: Iterable[str]) -> list[PromptColumns]:
    """The kinds whose required columns are all there; pairs are prompts with answers too."""
    present = set(columns)
    found = [kind for kind in KINDS.values() if kind.fits(present)]
    return [*found, KINDS[ANSWERS]] if KINDS[PAIRS] in found and KINDS[ANSWERS] not in found else found
