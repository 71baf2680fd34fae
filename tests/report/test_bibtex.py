"""BibTeX and biblatex as people write and export them: what is read, and what of it is refused by line."""

from __future__ import annotations

import pytest

from engine.errors import TemplateError
from engine.report.bibliography import Bibliography, Reference
from engine.report.bibtex import bibtex_sources, read_bibtex

BIB = r"""
% a comment, with me@example.org in it
@comment{ignored}
@inproceedings{meng2022,
  author = {Meng, Kevin and David Bau and Alex Andonian},
  title = "Locating {GPT} \& more -- facts",
  booktitle = {NeurIPS},
  year = 2022,
  eprint = {2202.05262},
}
@misc{erdos1960, author={Erd\H{o}s, P\'al and {\"O}zg\"ur Stra{\ss}e}, title={On {\o}}, date = {1960-02-01}}
"""


def read(text: str) -> Bibliography:
    return read_bibtex(text.encode(), "references.bib")


def one(text: str) -> Reference:
    (reference,) = read(text).values()
    return reference


def test_names_titles_and_accents_become_unicode() -> None:
    references = read(BIB)
    assert list(references) == ["meng2022", "erdos1960"]
    meng = references["meng2022"]
    assert meng.short == "Meng et al. 2022" and meng.url == "https://arxiv.org/abs/2202.05262"
    assert meng.long == (
        "Kevin Meng, David Bau, and Alex Andonian. Locating GPT & more – facts. In NeurIPS. 2022. "
        "arXiv:2202.05262"
    )
    erdos = references["erdos1960"]
    assert erdos.short == "Erdős and Straße 1960"
    assert erdos.long == "Pál Erdős and Özgür Straße. On ø. February 1960."


@pytest.mark.parametrize(
    ("entry", "short", "long"),
    [
        (
            '@string{tacl = "Transactions of the ACL"}\n'
            "@article{k, author = {Ada Lovelace}, title = {A}, journal = tacl # { (}  # {TACL)}, "
            "year = 2023, month = jan}",
            "Lovelace 2023",
            "Ada Lovelace. A. Transactions of the ACL (TACL), January 2023.",
        ),
        (
            "@online{k, author = {{Google DeepMind Team}}, title = {A report}, year = 2024}",
            "Google DeepMind Team 2024",
            "Google DeepMind Team. A report. 2024.",
        ),
        (
            "@article{k, author = {Jane Doe}, title = {Exported}, subtitle = {by Zotero}, "
            "journaltitle = {Nature}, date = {2024-05-01}, volume = {3}, number = 4, pages = {1--9}}",
            "Doe 2024",
            "Jane Doe. Exported: by Zotero. Nature, 3(4):1–9, May 2024.",
        ),
        (
            "@thesis{k, author = {van der Berg, Jan}, title = {T}, type = {Master's thesis}, "
            "institution = {Delft}, date = {2020}}",
            "van der Berg 2020",
            "Jan van der Berg. T. Master's thesis, Delft, 2020.",
        ),
        (
            "@misc{k, author = {Elhage, Nelson and Nanda, Neel and others}, title = {F}, year = 2021}",
            "Elhage et al. 2021",
            "Nelson Elhage, Neel Nanda, et al. F. 2021.",
        ),
        ("@dataset{k, title = {No one's data}}", "No one's data no date", "No one's data."),
        (
            "@article{k, author = {A. B}, title = {Without a journal}, year = 2001}",
            "B 2001",
            "A. B. Without a journal. 2001.",
        ),
        (
            "@book{k, editor = {Ed Itor}, title = {B}, publisher = {P}, year = 1999, edition = {Second}}",
            "Itor 1999",
            "Ed Itor, editor. B. P, second edition, 1999.",
        ),
        (
            "@misc{k, author = {X}, title = {\\emph{Em} {\\it phasis} H$_2$O, $\\alpha$ and \\'{\\i}}, "
            "year = 1}",
            "X 1",
            "X. Em phasis H₂O, α and í. 1.",
        ),
        (
            "@made-up{k, author = {X}, title = {What is this?}, booktitle = {Proc}, year = 2000}",
            "X 2000",
            "X. What is this? In Proc, 2000.",
        ),
    ],
)
def test_what_people_write_is_printed_as_they_mean_it(entry: str, short: str, long: str) -> None:
    assert (one(entry).short, one(entry).long) == (short, long)


def test_a_paper_takes_over_from_the_volume_that_it_names() -> None:
    volume = "@proceedings{v, title = {Proc. of X}, year = 2020, publisher = {ACL}}"
    works = read(f"@inproceedings{{p, author = {{A B}}, title = {{P}}, crossref = {{v}}}}\n{volume}")
    assert works["p"].long == "A B. P. In Proc. of X. ACL, 2020."


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ("url = {javascript:alert(1)}", ""),
        ("doi = {10.1/x}", "https://doi.org/10.1/x"),
        ("doi = {https://doi.org/10.1/x<y>}", "https://doi.org/10.1/x%3Cy%3E"),
        ("url = {http://x.org}", "http://x.org"),
        ("url = {http://x.org/~hinton/a--b_c.pdf}", "http://x.org/~hinton/a--b_c.pdf"),
        (r"url = {http://x.org/\~{}h/{\textasciitilde}g\_c}", "http://x.org/~h/~g_c"),
        (r"url = {https://x.org/a?x=1\%20b&y=2}", "https://x.org/a?x=1%20b&y=2"),
        (r"url = {\url{https://x.org/a}}", "https://x.org/a"),
        ("eprint = {arXiv:2401.00001v2}, archiveprefix = {arXiv}", "https://arxiv.org/abs/2401.00001v2"),
        ("eprint = {123}, eprinttype = {jstor}", ""),
        ("title = {none}", ""),
    ],
)
def test_addresses_are_links_where_a_browser_may_follow_them(fields: str, url: str) -> None:
    assert one(f"@misc{{k, author = {{A}}, {fields}}}").url == url


def test_an_address_is_not_said_twice() -> None:
    work = one("@misc{k, title = {T}, eprint = {2401.00001}, url = {https://arxiv.org/abs/2401.00001}}")
    assert work.long.endswith("arXiv:2401.00001") and len([p for p in work.parts if p.kind == "link"]) == 1


def test_works_of_the_same_people_and_year_are_told_apart() -> None:
    works = read("".join(f"@misc{{{key}, author = {{A B}}, title = {{T}}, year = 2025}}\n" for key in "xyz"))
    assert [work.short for work in works.values()] == ["B 2025a", "B 2025b", "B 2025c"]
    assert works["y"].long == "A B. T. 2025b."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252"])
def test_encodings_are_read(encoding: str) -> None:
    data = "@misc{k,\r\n author = {Jürgen Schmidhuber}, title = {T}}".encode(encoding)
    assert read_bibtex(data, "r.bib")["k"].names == "Schmidhuber"
    assert "Jürgen" in read_bibtex(data, "r.bib")["k"].long


@pytest.mark.parametrize(
    ("text", "key", "line", "problem"),
    [
        ("@misc{a, title={x}}\n@misc{a, title={y}}", "a", 2, "two references are called 'a'"),
        ("\n@misc{a, title={x}", "a", 2, "never closed"),
        ('@misc{a,\n title="x', "a", 1, "never closed"),
        ('@misc{a,\n title="x}}', "a", 2, "unbalanced braces"),
        ("@misc{a,\n title x}", "a", 2, "'=' expected"),
        ("@misc{a,\n title = {x}\n year = 3}", "a", 3, "expected"),
        ("@article{a, title = {T},\n journal = tcal}", "a", 2, "nothing is called 'tcal'"),
        ("@misc{a, title = {x}, title = {y}}", "a", 1, "two fields called title"),
        ("@misc{a, author = {A, B, C, D}}", "a", 1, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_line_where_it_is_cited(text, key, line, problem) -> None:
    works = read(f"@string{{tacl = {{T}}}}{text}\n@misc{{fine, title = {{F}}}}")
    assert works["fine"].long == "F."
    with pytest.raises(TemplateError, match=problem) as caught:
        works.cited(key)
    assert caught.value.where == f"references.bib:{line}"
    assert [concern.where for concern in works.unread([])] == [f"references.bib:{line}"]
    assert works.unread([key]) == []


def test_a_macro_that_is_not_there_is_told_with_the_nearest() -> None:
    works = read("@string{tacl = {T}}\n@article{a, journal = tcal}")
    with pytest.raises(TemplateError) as caught:
        works.cited("a")
    assert "tacl" in caught.value.near


def test_an_entry_without_a_key_is_a_notice() -> None:
    works = read("@misc{title = {x}}\n@misc{, title = {y}}\n@misc{a, title = {z}}")
    assert list(works) == ["a"]
    assert [concern.where for concern in works.unread([])] == ["references.bib:1", "references.bib:2"]
    with pytest.raises(TemplateError) as caught:
        works.cited("b")
    assert "references.bib:1" in caught.value.hint


def test_hundreds_of_works_are_read_and_only_what_is_cited_is_formatted() -> None:
    works = read(
        "".join(f"@misc{{k{n}, author = {{A B{n}}}, title = {{T}}, year = 2025}}\n" for n in range(300))
    )
    assert len(works) == 300 and works["k7"].short == "B7 2025"
    assert list(works.formatted) == ["k7"]


def test_macros_that_hold_each_other_twice_end_in_a_fault() -> None:
    doubled = "".join(f"@string{{a{i + 1} = a{i} # a{i}}}\n" for i in range(60))
    text = f"@string{{a0 = {{xxxxxxxxxx}}}}\n{doubled}@misc{{k, title = a60}}\n@misc{{good, title = {{A}}}}\n"
    works = read_bibtex(text.encode(), "r.bib")
    assert works["good"].long
    assert "k" not in works
    assert any("@string macros" in str(fault) for fault in [*works.faults.values(), *works.keyless])


def test_entries_are_given_as_they_are_written_less_those_that_cannot_be_read() -> None:
    macro = '@string{press = "A Press"}'
    good = "@book{good,\n  title = {A {Title} with an @ sign},\n  publisher = press\n}"
    text = f"words\n{macro}\n\n@misc{{bad, title {{B}}}}\n\n@comment{{x}}\n{good}\n"
    text += "@misc{twice,}\n@misc{twice,}\n"
    sources = bibtex_sources(text.replace("\n", "\r\n").encode())
    assert sources.macros == (macro,)
    assert sources.entries == {"good": good}
    assert sources.text == f"{macro}\n\n{good}\n"
    assert read_bibtex(sources.text.encode())["good"].long == read_bibtex(text.encode())["good"].long
