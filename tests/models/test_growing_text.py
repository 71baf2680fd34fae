"""Text grows by what is certain: split characters and possible stop strings wait for the next token."""

import pytest

from engine.models.growing_text import GrowingText

WORDS = ["<s>", "the", "cat", "sat", "on", "a", "mat"]


def words(ids):
    return " ".join(WORDS[i] for i in ids)


def raw_bytes(ids):
    """A token is a byte, as in the worst case of a byte-level vocabulary."""
    return bytes(ids).decode("utf-8", errors="replace")


def grown(text, tokens):
    pieces = [text.add(token) for token in tokens]
    return [*pieces, text.finish()]


def test_prompt_and_text_together_are_the_text_of_all_tokens():
    for n_prompt in (1, 2, 20):
        prompt = [1, 2] * 10
        text = GrowingText(words, prompt[:n_prompt])
        assert grown(text, [2, 3, 4]) == [" cat", " sat", " on", ""]
        assert words(prompt[:n_prompt]) + text.text == words([*prompt[:n_prompt], 2, 3, 4])


def test_a_character_is_handed_out_when_it_is_whole():
    text = GrowingText(raw_bytes, list(b"a"))
    pieces = grown(text, "é🙂z".encode())
    assert pieces == ["", "é", "", "", "", "🙂", "z", ""]
    assert text.text == "é🙂z"


def test_a_character_that_never_becomes_whole_is_shown_as_such_at_the_end():
    text = GrowingText(raw_bytes, list(b"a"))
    assert grown(text, "bé".encode()[:2]) == ["b", "", "\N{REPLACEMENT CHARACTER}"]


def test_long_texts_are_decoded_in_pieces():
    longest = 0

    def decode(ids):
        nonlocal longest
        longest = max(longest, len(ids))
        return raw_bytes(ids)

    said = "Größe und Maß, 🙂 again and again. " * 20
    text = GrowingText(decode, list(b"start "))
    assert "".join(grown(text, said.encode())) == said
    assert longest <= 24


@pytest.mark.parametrize(
    ("stops", "pieces", "left"),
    [
        # The stop lies within a token, across two, and at the very beginning.
        (["at"], [" c", "", "", ""], " c"),
        (["t s"], [" ca", "", "", ""], " ca"),
        ([" cat"], ["", "", "", ""], ""),
        # The earliest counts, whatever the order of the list.
        (["sat", "at s"], [" c", "", "", ""], " c"),
        # What only began like a stop string is handed out after all, the last of it at the end.
        (["t some"], [" ca", "t sa", "t on", ""], " cat sat on"),
        (["on a mat"], [" cat", " sat", " ", "on"], " cat sat on"),
    ],
)
def test_a_text_ends_before_the_first_stop_string(stops, pieces, left):
    text = GrowingText(words, [1], stops)
    found = []
    for token in (2, 3, 4):
        found.append("" if text.found else text.add(token))
    found.append(text.finish())
    assert found == pieces
    assert text.text == left == "".join(pieces)
    assert (text.found is not None) == (left != " cat sat on")


def test_a_stop_string_of_the_prompt_does_not_count():
    text = GrowingText(words, [1, 2], ["the cat", "cat s"])
    assert "".join(grown(text, [3, 1, 2])) == " sat "
    assert text.found == "the cat"
