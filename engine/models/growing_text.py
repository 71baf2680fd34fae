"""The text of tokens that arrive one by one, and whether it has come to a stop.

A token is no piece of text by itself: a character may be spread over several, a decoder may drop a space at
the beginning. So text is what decoding with a token adds to decoding without it, after the end of the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

CONTEXT_TOKENS = 8
"""How much of what came before is decoded along: enough for a character that is split over tokens."""
BROKEN = "\N{REPLACEMENT CHARACTER}"


class GrowingText:
    """What a prompt is continued by: prompt and `text` together are the text of all tokens.

    `decode` gives the text of token ids. The text ends before the first of the strings `stops` in it; what
    could be the beginning of one is held back until the next token decides.
    """

    def __init__(
        self, decode: Callable[[Sequence[int]], str], prompt: Sequence[int], stops: Sequence[str] = ()
    ) -> None:
        self.text = ""
        self.found: str | None = None  # the stop string that ended the text
        self._decode = decode
        self._stops = stops
        self._ids = list(prompt[-CONTEXT_TOKENS:])
        self._read = len(self._ids)  # how many of `_ids` are in the text, or before it
        self._given = 0  # how much of the text was handed out

    def add(self, token: int) -> str:
        """The text that is certain now and was not before; often a word, sometimes nothing."""
        self._ids.append(token)
        piece = self._undecoded()
        # The bytes of a character that is not whole decode to this: its other tokens are still to come.
        if not piece.endswith(BROKEN):
            self._append(piece)
            # What was just read becomes the context of what comes next.
            del self._ids[: max(0, self._read - CONTEXT_TOKENS)]
            self._read = len(self._ids)
        return self._give(held_back=0 if self.found is not None else self._possible_beginning())

    def finish(self) -> str:
        """What was held back: nothing can follow it any more."""
        if self.found is None:
            self._append(self._undecoded())
            self._read = len(self._ids)
        return self._give(held_back=0)

    def _undecoded(self) -> str:
        before = self._decode(self._ids[: self._read])
        return self._decode(self._ids)[len(before) :]

    def _append(self, piece: str) -> None:
        """The text with the piece, cut at the first stop string in it."""
        earlier = len(self.text)
        self.text += piece
        ends = []
        for stop in self._stops:
            # It ends in the new piece, or it would have been found before.
            at = self.text.find(stop, max(0, earlier - len(stop) + 1))
            if at >= 0:
                ends.append((at, stop))
        if ends:
            at, self.found = min(ends)
            self.text = self.text[:at]

    def _possible_beginning(self) -> int:
        """Length of the longest end of the text with which a stop string begins."""
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(self.text)), longest, -1):
                if self.text.endswith(stop[:length]):
                    longest = length
                    break
        return longest

    def _give(self, held_back: int) -> str:
        end = max(self._given, len(self.text) - held_back)
        piece = self.text[self._given : end]
        self._given = end
        return piece
