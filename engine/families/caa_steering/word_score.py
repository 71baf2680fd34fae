"""How much a text is of a concept, by its words alone: no judge model reads it, and no activation.

Either by lists of words, each counting 1 for its side; or by words that were learned from texts of both
sides: ln((1 + texts of the positive side with the word) / (1 + those of the negative side)), in nats, summed
over the words of a text: naive Bayes with one text of each side added, for equally many texts of both.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
"""Letters of any script, with apostrophes inside."""


def words_of(text: str) -> list[str]:
    """The words of a text, in one case."""
    return [word.casefold() for word in WORD.findall(text)]


def listed_weights(positive: Iterable[str], negative: Iterable[str]) -> dict[str, float]:
    """1 for each word of the positive list, -1 for each of the negative one."""
    weights = {word.casefold(): 1.0 for word in positive}
    return weights | {word.casefold(): -1.0 for word in negative}


def learned_weights(positive: Sequence[str], negative: Sequence[str]) -> dict[str, float]:
    """The log odds of the positive side for each word of these texts, in nats."""
    counts = [
        Counter(word for text in texts for word in set(words_of(text))) for texts in (positive, negative)
    ]
    with_it, without = counts
    return {word: math.log((1 + with_it[word]) / (1 + without[word])) for word in with_it | without}


def word_score(text: str, weights: Mapping[str, float]) -> float:
    """The sum of the weights of a text's words; 0 where it has none of them."""
    return sum(weights.get(word, 0.0) for word in words_of(text))
