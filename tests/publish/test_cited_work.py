"""An entry of BibTeX that holds: read back by a reader that is not ours."""

import re
from dataclasses import replace

import pytest
from pybtex.database import parse_string

from engine.publish.cited_work import CitedWork, bibtex, family_first, given_first, names_in_words, tex
from engine.spec.models import Contributor

ADA = Contributor(name="Ada Lovelace")
TEAM = Contributor(name="The mech & co. team", group=True)
WORK = CitedWork(
    name="fact-recall",
    title="Where is a Fact recalled by SmolLM2?",
    authors=(ADA, TEAM),
    site_name="Mechanistic interpretability",
    date="2026-01-31T12:40:09Z",
    version="1.2",
    commit="61a74e290c5324d8bba4d531432d57416b558edf",
    doi="10.5281/zenodo.1_2",
    url="https://example.org/investigations/fact-recall/",
)
HOSTILE = [
    "100% of $5 & #1_a {b} ~c^d \\input{/etc/passwd}",
    "}, note = {owned}, title = {",
    "}} @misc{other, title={{x}}}",
    'a "quoted" title',
    "line\nbreak\x00 and \u202e direction",
    "<script>alert(1)</script>",
    "Ünïcode \N{GREEK SMALL LETTER LAMDA} 🙂",
    "ends with a backslash \\",
    "{",
    "}",
]


def test_an_entry_says_what_is_known() -> None:
    assert bibtex(WORK) == (
        "@misc{fact-recall,\n"
        "  author = {Ada Lovelace and {The mech \\& co. team}},\n"
        "  title = {{Where is a Fact recalled by SmolLM2?}},\n"
        "  year = {2026},\n"
        "  version = {1.2},\n"
        "  howpublished = {Mechanistic interpretability},\n"
        "  doi = {10.5281/zenodo.1\\_2},\n"
        "  url = {https://example.org/investigations/fact-recall/},\n"
        "  note = {Commit 61a74e290c53},\n"
        "  month = jan,\n"
        "}\n"
    )


def test_the_key_is_the_same_for_every_version() -> None:
    later = replace(WORK, date="2027-06-01", version="2", commit="", title="Another title")
    assert later.key == WORK.key == "fact-recall"
    assert replace(WORK, name="a b/{c}").key == "a-b-c"


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_title_or_a_name_holds_is_text(text: str) -> None:
    hostile = replace(WORK, title=text, authors=(Contributor(name=text), ADA), version=text, site_name=text)
    found = parse_string(bibtex(hostile), "bibtex")
    assert list(found.entries) == ["fact-recall"]
    entry = found.entries["fact-recall"]
    assert entry.fields["title"] == f"{{{tex(text)}}}"
    assert entry.fields["version"] == tex(text)
    assert len(entry.persons["author"]) == 2
    assert set(entry.fields) == {"title", "year", "version", "howpublished", "doi", "url", "note", "month"}
    # No command of TeX but those that print a character.
    assert (
        not {*_commands(bibtex(hostile))}
        - {"textbackslash", "textbraceleft", "textbraceright"}
        - {
            "textasciitilde",
            "textasciicircum",
        }
    )


def _commands(text: str) -> list[str]:
    return re.findall(r"\\([A-Za-z]+)", text)


@pytest.mark.parametrize(
    ("name", "last", "first"),
    [
        ("Ada Lovelace", ["Lovelace"], ["Ada"]),
        ("Lovelace, Ada", ["Lovelace"], ["Ada"]),
        ("Ludwig van Beethoven", ["Beethoven"], ["Ludwig"]),
        ("Rosencrantz and Guildenstern", ["{Rosencrantz and Guildenstern}"], []),
        ("a, b, c, d", ["{a, b, c, d}"], []),
    ],
)
def test_names_are_read_as_they_are_meant(name: str, last: list[str], first: list[str]) -> None:
    entry = parse_string(bibtex(replace(WORK, authors=(Contributor(name=name),))), "bibtex").entries[
        "fact-recall"
    ]
    (person,) = entry.persons["author"]
    assert (person.last_names, person.first_names) == (last, first)


def test_what_is_not_known_is_left_out() -> None:
    bare = CitedWork("x", "T", (), "A site")
    assert (
        bibtex(bare) == "@misc{x,\n  author = {{A site}},\n  title = {{T}},\n  howpublished = {A site},\n}\n"
    )
    in_repository = replace(bare, repository="https://example.org/a/b")
    assert "url = {https://example.org/a/b}" in bibtex(in_repository)


def test_an_address_ends_no_field() -> None:
    entry = bibtex(replace(WORK, url='https://example.org/a}b{c"d e\\f%20g'))
    assert "url = {https://example.org/a%7Db%7Bc%22d%20e%5Cf%20g}" in entry


def test_names_in_words() -> None:
    beethoven = Contributor(name="van Beethoven, Ludwig")
    assert names_in_words([ADA]) == "Ada Lovelace"
    assert names_in_words([ADA, beethoven, TEAM]) == (
        "Ada Lovelace, Ludwig van Beethoven and The mech & co. team"
    )
    assert [family_first(a) for a in (ADA, beethoven, TEAM)] == [
        "Lovelace, Ada",
        "van Beethoven, Ludwig",
        "The mech & co. team",
    ]
    assert given_first(Contributor(name="Plato")) == "Plato" == family_first(Contributor(name="Plato"))
