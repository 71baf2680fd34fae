"""Which language an answer is in, told by its commonest words: the judge of the positive control.

1. The text is cut into words; letters with marks belong to them, digits do not.
2. Each language has a list of common words: articles, prepositions, pronouns, forms of *be* and *have*. What
   stands in one list alone is a hit for that language; a word of several lists tells nothing.
3. The language with most hits is the answer's, where it has enough of them and a clear lead. Else the answer
   is undecided: a few words, a list of names, a formula, two languages by halves.

No model and no dependency: the positive control asks whether a direction changes the language of an answer,
for which common words suffice. Twenty words of the packaged prompts are called English in 97 % of cases or
more, and never anything else but undecided. There are more languages than two, so that an answer in another
one is not taken for French.

Source: Grefenstette 1995, "Comparing two language identification schemes" (common words).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Literal, get_args

Language = Literal["english", "french", "spanish", "german", "italian", "portuguese"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
UNDECIDED = "undecided"

LEAST_HITS = 2
"""Words that only one language has, below which a text is too short to tell. With three, half of the short
French answers of a small model were left undecided, and whatever made answers longer made them French."""
LEAD = 2
"""How many times more hits than the next language: a quotation in another language does not decide."""


def _each(words: str) -> frozenset[str]:
    return frozenset(words.split())


# A word of another language that English has too is in the English list as well, so that it tells nothing:
# "pour the water", "no car", "come in", "man".
COMMON_WORDS: dict[Language, frozenset[str]] = {
    "english": _each(
        """the and of to is in that it was for are with as this be by have from or had not but they which you
        were there their been has when who will more if would about what can into than them could these then
        its only our some most such other how where because your while each both we he she his her him at
        an so do does did no any may might should being between during through often make people my i a on me
        also am come con den die dove entre fin ha hat man mine or par per plus pour car sage sans sea sin son
        sole tout us war was fur nun um"""
    ),
    "french": _each(
        """le la les des du un une et est en dans que qui pour il elle ils elles sur avec ce cette ces par
        plus pas ne sont au aux son sa ses mais ou où nous vous leur leurs ont être avoir été fait comme peut
        peuvent tout tous très aussi même lorsque quand entre sans sous après avant dont donc car si on se je
        tu mon ma mes votre vos notre ainsi afin chaque plusieurs cela également il y a deux peu puis beaucoup
        parce faut ensuite alors encore depuis toujours voici"""
    ),
    "spanish": _each(
        """el la los las de del un una unos unas y es en que por para con no se su sus lo como más pero este
        esta estos estas son al ha muy también fue ser hay cuando donde desde sobre entre sin porque está
        están tiene puede pueden yo nosotros ellos ella todo todos hasta cada durante aunque e o tu si"""
    ),
    "german": _each(
        """der die das und ist in zu den von mit sich des auf für nicht ein eine einer einem einen als auch es
        an werden aus er hat dass sie nach wird bei sind noch wie um am im über so zum war haben nur oder aber
        vor zur bis mehr durch man kann wenn sein ihre ihr wir ich dem diese dieser dieses sehr also"""
    ),
    "italian": _each(
        """il lo la i gli le di del della dei delle un uno una e è in che per con non si su sono al alla come
        più ma questo questa questi ha anche nel nella dal dalla essere molto quando dove perché o se ci loro
        può possono tra fra sua suo suoi stato ogni durante poi così qui ne tu"""
    ),
    "portuguese": _each(
        """o a os as de do da dos das um uma e é em que por para com não se no na nos nas mais mas como foi ao
        são seu sua seus pelo pela também ser há quando muito já está eu isso ela entre depois sem mesmo até
        você podem pode ou onde cada durante tu"""
    ),
}

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*'?")
_ELIDED = re.compile(r"\b(?:l|d|j|n|s|m|t|c|qu|jusqu|lorsqu|puisqu)'(?=\w)")


def _only_of_one() -> dict[str, Language]:
    """Each word that stands in one list alone, with its language."""
    lists = Counter(word for words in COMMON_WORDS.values() for word in words)
    return {word: name for name, words in COMMON_WORDS.items() for word in words if lists[word] == 1}


TELLING = _only_of_one()
"""What a word tells: those that several languages have are left out."""


def hits(text: str) -> Counter[Language]:
    """How many words of a text only one language has, by language.

    An elided French article or pronoun (l'eau, qu'il) is a hit for French, and what follows it is a word of
    its own.
    """
    # One form for a letter and its mark, and one apostrophe.
    plain = unicodedata.normalize("NFC", text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    found: Counter[Language] = Counter()
    elided = len(_ELIDED.findall(plain))
    if elided:
        found["french"] += elided
    for word in _WORD.findall(_ELIDED.sub("", plain)):
        if word in TELLING:
            found[TELLING[word]] += 1
    return found


def language_of(text: str) -> Language | Literal["undecided"]:
    """The language of an answer, or `undecided`."""
    counted = hits(text).most_common(2)
    if not counted or counted[0][1] < LEAST_HITS:
        return UNDECIDED
    language, most = counted[0]
    next_most = counted[1][1] if len(counted) > 1 else 0
    return language if most >= LEAD * next_most else UNDECIDED
