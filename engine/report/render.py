"""A template and its ledgers become Markdown, with the charts, tables and concerns that belong to it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from markupsafe import Markup

from engine.errors import ClaimError, EngineError, TemplateError
from engine.evidence.multiverse import margin_scale
from engine.evidence.printing import digits
from engine.evidence.result import Figure
from engine.evidence.stand_in import is_stand_in, verdict_names
from engine.report.assumptions import assumptions
from engine.report.author_markup import safe_source
from engine.report.bibliography import Bibliography
from engine.report.charts.chart import Chart
from engine.report.charts.draw import draw
from engine.report.charts.pictures import PictureCache
from engine.report.charts.specification_curve import curve_table, specification_curve
from engine.report.citations import CITE_WORK, CitationForm, with_citations
from engine.report.claim_sentences import ClaimSentence, verdict_of, why
from engine.report.dashed_names import identifiers, without_dashes
from engine.report.escape import as_it_is
from engine.report.generated_sections import how_measured, repeat, where_it_holds
from engine.report.grammar import CITE_CLAIM, Grammar, parsed, parsed_by, rendered_tree, wrong_names
from engine.report.key_numbers import KeyPair, concerns_of_key_numbers, key_pairs, wrong_key_numbers
from engine.report.lint import Concern, lint
from engine.report.mathml import mathml
from engine.report.multiverse_words import which_choices_flip
from engine.report.nested_blocks import in_its_place, placed
from engine.report.number_lint import headline_without_control, superlatives
from engine.report.numbers import (
    MARKERS,
    ExperimentNumbers,
    FormattedFloat,
    InvestigationNumbers,
    Number,
    failed_checks,
    is_withheld,
    known_one,
)
from engine.report.opening import claims_at_a_glance, escaped_prose, on_one_line, opening
from engine.report.printers.html_parts import with_punctuation
from engine.report.printers.listing import ListingPrinter
from engine.report.printers.markdown_blocks import block, joined
from engine.report.printers.printer import Printer
from engine.report.printers.site import SitePrinter
from engine.report.printers.text import TextPrinter
from engine.report.references_file import references_beside
from engine.report.tables import ROWS, count_shown, grid_of
from engine.report.template_source import FORMULA, refuse_header, template_source
from engine.runs.ledger import DisplayItem, DisplayKind, Entry, Ledger
from engine.runs.library import Library, library_of, spelled_with_underscores
from engine.spec.models import Claim

__all__ = ["ChartCall", "Concern", "RenderedReport", "asked_for", "render", "render_headline"]

# Stands for the list until everything is cited. Data cannot forge it: `escape` leaves no control character.
_REFERENCES = "\x00references\x00"
CURVE_CAPTION = (
    "Each column is one set of choices, the dots below say which. Above, by how much the claim holds there, "
    "with its 95 % interval; the dashed line is where it would turn."
)


@dataclass(frozen=True)
class ChartCall:
    """How Python draws a chart of a page again: `engine.chart(engine.load(slug), name, model=model)`.

    `name` is that of a figure, or the id of a claim whose specification curve it is.
    """

    slug: str
    name: str
    model: str  # empty for the primary one
    title: str
    caption: str = ""


@dataclass(frozen=True)
class Listing:
    """A report as pages that list many show it: headline and key numbers in HTML, and their popovers."""

    headline: str = ""
    key_numbers: str = ""
    popovers: str = ""


@dataclass(frozen=True)
class RenderedReport:
    """A report in Markdown. `charts` are Vega-Lite specs and `tables` what can be downloaded, as text by id.

    The Markdown links to them as charts/ID.json and tables/ID.csv, relative to its own page, and to
    `pictures`, SVG by the chart's id, as charts/ID.svg.
    `opening` (headline and key numbers) and `claims` stand above the text. `headline` is plain text: escape
    it for the place where it is put. `popovers` are HTML, the larger part of a page, to stand once below its
    last line.
    """

    markdown: str
    charts: dict[str, str]
    tables: dict[str, str]
    concerns: list[Concern]
    headline: str
    popovers: str = ""
    chart_calls: Sequence[ChartCall] = ()  # in the order of the page
    pictures: dict[str, str] = field(default_factory=dict)
    opening: str = ""
    claims: str = ""
    listing: Listing = field(default_factory=Listing)
    error: EngineError | None = None  # why the report could not be printed


def render(
    ledgers: Ledger | Library,
    template_text: str,
    path: Path | str,
    *,
    target: Literal["site", "text"] = "site",
    printer: Printer | None = None,
    pictures: PictureCache | None = None,
    citations: Bibliography | None = None,
    cite: bool = True,
) -> RenderedReport:
    """Print what the ledgers know into a template, for a target or by a printer of the caller's own.

    A ledger alone, or a library with a slug of its own, prints the report of that investigation, which may
    name numbers of the others; a library without one prints a publication, which has no headline, key
    numbers or claims of its own.

    `path` is the template's own, for messages, for the spec.yaml and, unless `citations` are given, the
    references.bib beside it. Without `cite`, citations stay as they are written, for a later program to read.
    With `pictures`, the site's charts have still pictures, too.
    `concerns` holds broken and undecided sentences and all that `lint` finds. Raises TemplateError with
    file:line and nearest names for whatever the template, the headline or a key number names that is not
    there, ClaimError for what a claim does.
    """
    path = Path(path)
    text = template_text
    library = named_by(ledgers, text)
    own = _own(library)
    if own:
        refuse_header(text, str(path))
    references = references_beside(path) if citations is None else citations
    site = SitePrinter(pictures)
    if printer is None:
        printer = site if target == "site" else TextPrinter()
    page = _Page(library, path, printer, references, cites=cite)
    if own and (wrong := wrong_in_spec(own, path)):
        raise wrong[0]
    opened = page.opening() if own else ""
    body = page.print(text, str(path))
    concerns = page.concerns + page.lint(text, str(path), own.spec.claims if own else ())
    if own:
        concerns += page.lint(own.spec.headline, headline_place(path))
    concerns += _lint_of_numbers(library, text, path)
    concerns += references.unread(page.cited)
    concerns += [
        Concern("undrawn-chart", f"{path}: chart {id}", f"it has no picture for print: {error.seen or error}")
        for id, error in site.refused.items()
    ]
    charts = {id: _json(chart.spec) for id, chart in page.charts.items()}
    tables = {id: table.to_csv(index=False, lineterminator="\n") for id, table in page.tables.items()}
    calls = tuple(page.chart_calls.values())
    if own is None:
        return RenderedReport(body, charts, tables, concerns, "", printer.end(), calls, site.svg)
    return RenderedReport(
        body,
        charts,
        tables,
        concerns,
        render_headline(library, path),
        printer.end(),
        calls,
        site.svg,
        opening=str(opened),
        claims=str(claims_at_a_glance(own, printer)),
        listing=_listing(library, path),
    )


def named_by(ledgers: Ledger | Library, template_text: str) -> Library:
    """The ledgers that a template and its headline can print from: all that its page depends on."""
    library = library_of(ledgers)
    own = _own(library)
    return library.named_in(template_text, own.spec.headline if own else "")


def _own(library: Library) -> Ledger | None:
    return library.ledgers[library.own] if library.own else None


def _lint_of_numbers(library: Library, text: str, path: Path) -> list[Concern]:
    """What is wrong with numbers where they stand: in a headline, beside a superlative."""

    def printed_by(template: str) -> list[Number]:
        page = _Page(library, path, TextPrinter(), Bibliography())
        page.print(template, str(path))
        return page.printed

    concerns: list[Concern] = []
    if own := _own(library):
        place = headline_place(path)
        in_headline = printed_by(own.spec.headline)
        concerns += headline_without_control(in_headline, place)
        pairs = _Page(library, path, TextPrinter(), Bibliography()).key_pairs()
        concerns += concerns_of_key_numbers(pairs, in_headline, path.parent / "spec.yaml")
        concerns += superlatives(own.spec.headline, place, printed_by)
    return concerns + superlatives(template_source(text, str(path)), str(path), printed_by)


def render_headline(ledgers: Ledger | Library, path: Path | str) -> str:
    """The spec's headline as plain text, its numbers without their intervals."""
    page = _Page(library_of(ledgers), Path(path), TextPrinter(as_it_is, intervals=False), Bibliography())
    return page.headline()


def _listing(library: Library, path: Path) -> Listing:
    """What is said of a report on pages that list many."""
    printer = ListingPrinter(library.own)
    page = _Page(library, path, printer, Bibliography())
    return Listing(page.headline(), str(printer.key_numbers(page.key_pairs())), printer.end())


def asked_for(
    ledgers: Ledger | Library, template_text: str, path: Path | str, *, of: str = ""
) -> frozenset[DisplayItem]:
    """The tables and figures that a template asks for, shown or not; nothing is drawn.

    Those of its own investigation, or `of` another one. Raises TemplateError and ClaimError as `render` does.
    """
    library = named_by(ledgers, template_text)
    own = _own(library)
    if own and (wrong := wrong_in_spec(own, path)):
        raise wrong[0]
    page = _Survey(library, Path(path), TextPrinter(), references_beside(Path(path)))
    page.print(template_text, str(path))
    return frozenset(item for slug, item in page.asked if slug == of)


def check_template(ledgers: Ledger | Library, template_text: str, path: Path | str) -> list[EngineError]:
    """What a template and the headline name wrongly, as far as a ledger can know before a measurement.

    Experiments, models and claims are known from the spec. Numbers, charts and tables are known where the
    experiment was measured or published on some model; of one that never was, nothing is said.
    """
    library = named_by(ledgers, template_text)
    own = _own(library)
    page = _Survey(library, Path(path), TextPrinter(), references_beside(Path(path)))
    texts = [(template_text, str(path))]
    texts += [(own.spec.headline, headline_place(path))] if own else []
    wrong = wrong_in_spec(own, path) if own else []
    for text, where in texts:
        try:
            if own:
                refuse_header(text, where)
            wrong += page.wrong_names(text, where)
        except EngineError as error:  # it cannot be parsed, so that no more can be said of it
            wrong.append(error)
    return wrong


def wrong_in_spec(ledger: Ledger, path: Path | str) -> list[EngineError]:
    """What the claims and key numbers of a spec name that no run has measured."""
    return [*ledger.wrong_claims, *wrong_key_numbers(ledger, Path(path).parent / "spec.yaml")]


def unprintable(error: EngineError, path: Path | str) -> RenderedReport:
    """What stands in the place of a report that cannot be printed: the error, and that nothing is lost."""
    printer = SitePrinter()
    told = printer.code(str(error), "text")
    why = "This report cannot be printed, because its template or its spec names something that is not there."
    kept = "Its numbers are not lost: they are printed as soon as this is mended."
    body = f"{printer.notice(why)}{told}{printer.paragraph(kept)}\n"
    kind = "broken-claim" if isinstance(error, ClaimError) else "broken-template"
    concern = Concern(kind, error.where or str(path), error.problem)
    return RenderedReport(body, {}, {}, [concern], "", error=error)


def headline_place(template: Path | str) -> str:
    """Where the headline of a template's investigation is written, for messages."""
    return f"{Path(template).parent / 'spec.yaml'} (headline)"


@dataclass
class _Page:
    """One template while it is printed: what it can call, and what it has gathered."""

    library: Library
    path: Path
    printer: Printer
    bibliography: Bibliography
    cites: bool = True  # else citations stay as they are written
    charts: dict[str, Chart] = field(default_factory=dict)
    chart_calls: dict[str, ChartCall] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    concerns: list[Concern] = field(default_factory=list)
    cited: list[str] = field(default_factory=list)
    asked: set[tuple[str, DisplayItem]] = field(default_factory=set)  # with the slug, empty for its own
    shown: set[str] = field(default_factory=set)  # what the text shows once, wherever it wants to
    printed: list[Number] = field(default_factory=list)
    where: str = ""

    @cached_property
    def own_experiments(self) -> tuple[str, ...]:
        return tuple(self.library.ledger().spec.experiments) if self.library.own else ()

    @cached_property
    def spellings(self) -> dict[str, str]:
        """What names with a dash are called in the template: experiments, slugs, and the two together."""
        taken = {*self.functions(), *self.own_experiments}
        experiments = identifiers(self.own_experiments, taken)
        # An own experiment goes before an investigation of the same name.
        slugs = [slug for slug in self.library.known if slug not in self.own_experiments]
        names = identifiers(slugs, taken | set(experiments.values()))
        joined_names = {}
        for slug in self.library.ledgers.keys() & {*slugs}:
            for experiment in self.library.ledgers[slug].spec.experiments:
                whole = f"{names.get(slug, slug)}.{spelled_with_underscores(experiment)}"
                if whole != f"{slug}.{experiment}":
                    joined_names[f"{slug}.{experiment}"] = whole
        return experiments | names | joined_names

    def print(self, text: str, where: str) -> str:
        """The template printed, with its references."""
        self.where = where
        context = self.context()
        source = self.source(text, where)
        grammar = Grammar(self.finalize)
        tree = parsed_by(grammar, source, where)
        # Before anything is rendered: a name in a branch that is not taken today may be taken tomorrow, and
        # the tree that is rendered is rewritten.
        if wrong := wrong_names(tree, context, self.lookups(), where):
            raise wrong[0]
        body = rendered_tree(grammar, tree, where, context)
        body = placed(body, where, self.printer.in_container)
        return with_punctuation(self._with_references(body))

    def source(self, text: str, where: str) -> str:
        """The template as Jinja reads it, every name with a dash spelled as one that it knows."""
        source = template_source(text, where)
        if isinstance(self.printer, SitePrinter):
            source = safe_source(source, where)
        source = without_dashes(source, where, self.spellings)
        return with_citations(source, where, self.printer.brackets) if self.cites else source

    def headline(self) -> str:
        """The own investigation's headline on one line, its numbers in the printer's markup."""
        text = escaped_prose(self.library.ledger().spec.headline, self.printer.data)
        return on_one_line(self.print(text, headline_place(self.path)))

    def key_pairs(self) -> list[KeyPair]:
        return key_pairs(self.library.ledger().spec.key_numbers, self.find)

    def opening(self) -> Markup:
        """What stands above the text: the finding, and the numbers that it rests on."""
        return opening(self.headline(), self.key_pairs(), self.printer)

    def wrong_names(self, text: str, where: str) -> list[EngineError]:
        """What the template names that is not there; nothing is printed."""
        return wrong_names(parsed(self.source(text, where), where), self.context(), self.lookups(), where)

    def lint(self, text: str, where: str, claims: Iterable[str] = ()) -> list[Concern]:
        """What a reader of the template should put right, names with a dash being no numbers."""
        return lint(text, where, claims, self.library.own, self.spellings)

    def context(self) -> dict[str, Any]:
        """What a template can name; a function hides an experiment of the same name from the dotted form."""
        return self.names() | self.functions()

    def functions(self) -> dict[str, Callable]:
        """What a template can call."""
        blocks: dict[str, Callable[..., Markup]] = {
            "chart": self.chart,
            "table": self.table,
            "where_it_holds": self.where_it_holds,
            "specification_curve": self.specification_curve,
            "assumptions": self.assumptions,
            "how_measured": self.how_measured,
            "repeat": self.repeat,
        }
        return {
            **{name: in_its_place(function) for name, function in blocks.items()},
            "number": self.number,
            "literal": lambda text: Markup(self.printer.data(text)),
            FORMULA: self.formula,
            "cite": self.cite,
            CITE_WORK: self.cite_work,
            "references": lambda: Markup(_REFERENCES),
            CITE_CLAIM: self.cite_claim,
        }

    def names(self) -> dict[str, ExperimentNumbers | InvestigationNumbers]:
        """The experiments and investigations that a template can name; with a dash, by both spellings."""
        found: dict[str, ExperimentNumbers | InvestigationNumbers] = {}
        for slug in self.library.known:
            # Of one that the text does not name there is no ledger: it is there for the nearest names.
            ledger = self.library.ledgers.get(slug)
            experiments = tuple(ledger.spec.experiments) if ledger else ()
            found[slug] = InvestigationNumbers(slug, experiments, self.find)
        found |= {name: ExperimentNumbers(name, self.find) for name in self.own_experiments}
        return found | {spelled: found[name] for name, spelled in self.spellings.items() if name in found}

    def lookups(self) -> dict[str, Callable[[str], Any]]:
        """How to find what a template names outright, by the function, experiment or slug that names it."""
        of_investigation = ("where_it_holds", "assumptions", "how_measured", "repeat")
        return {name: numbers.read for name, numbers in self.names().items()} | {
            "number": self.number,
            "chart": lambda name: self._part("figures", name, ""),
            "table": lambda name: self._part("tables", name, ""),
            "specification_curve": self._claim_across,
            FORMULA: self.formula,
            "cite": self.bibliography.cited,
            CITE_WORK: self.bibliography.cited,
            CITE_CLAIM: self._claim,
            **dict.fromkeys(of_investigation, self.library.ledger),
        }

    def finalize(self, value: Any) -> Any:
        """How a value stands in the text: measurements with evidence, data escaped, floats in few digits."""
        if hasattr(value, "__html__"):
            return value
        # Asked before `float`, which it is too: it has digits of its own.
        if isinstance(value, FormattedFloat):
            return Markup(value.text)
        if isinstance(value, float):
            return Markup(digits(value, None, None) if isfinite(value) else MARKERS["unmeasured"])
        return self.printer.data(value)

    def find(self, name: str, model: str) -> Number:
        slug, rest = self.library.split(name)
        ledger = self.library.ledger(slug)
        measurement, entry = ledger.number(rest, self._model(model, ledger))
        if measurement is None:
            self._refuse_unheard_of(rest, entry, ledger)
        shown = f"{slug}.{rest}" if slug else rest
        return Number(shown, measurement, entry, ledger, self.find, self.print_number)

    def print_number(self, number: Number) -> Markup:
        self.printed.append(number)
        return self.printer.number(number)

    def _refuse_unheard_of(self, name: str, entry: Entry, ledger: Ledger) -> None:
        """A number that is not there must at least be known from the experiment's other entries, if any."""
        others = (e.measurements for e in ledger.entries if e.experiment == entry.experiment)
        if known := {measurement: None for measurements in others for measurement in measurements}:
            known_one(entry.label, name.rpartition(".")[2], known)

    def _model(self, model: str, ledger: Ledger) -> str:
        return known_one(f"{self._spec_of(ledger)} models", model or ledger.primary, ledger.spec.models)

    def _spec_of(self, ledger: Ledger) -> str:
        return "this spec's" if ledger.slug == self.library.own else f"the spec of {ledger.slug}: its"

    def _claim(self, name: str) -> tuple[Ledger, Claim, str]:
        """The ledger of a claim, the claim, and how the text names it."""
        slug, id = self.library.claim(name)
        ledger = self.library.ledger(slug)
        claim = known_one(f"{self._spec_of(ledger)} claims", id, ledger.spec.claims)
        return ledger, claim, f"{slug}.{id}" if slug else id

    def number(self, name: str, *, model: str = "") -> Number:
        """`number("layer0[seed=3].l0", model="gpt2")`: a measurement by its full name."""
        if "." not in name:
            raise TemplateError(f"{name!r} names no measurement", expected='number("experiment.measurement")')
        return self.find(name, model)

    def cite_claim(
        self, claim: str, asserted: str = "", model: str = "", *, line: int, caller: Callable[[], str]
    ) -> Markup:
        """A sentence that rests on a claim; one that is broken or not decided is reported.

        It speaks of the primary model where it names none.
        """
        ledger, known, name = self._claim(claim)
        of_model = self._model(model, ledger)
        # A statement about another model is found here or not: no sentence can have it contradicted.
        choices = verdict_names(is_stand_in(known.about, of_model))
        asserted = known_one("the claim tag", asserted, choices) if asserted else choices[0]
        sentence = caller().strip()
        # A claim is printed as one inline element, which the end of a paragraph would tear apart.
        if re.search(r"\n[ \t]*\n", sentence) or not sentence:
            raise TemplateError(
                "a claim tag holds one sentence", expected="text without an empty line", seen=sentence
            )
        id = name.rpartition(".")[2]
        models = sorted(ledger.spec.models, key=lambda m: m != of_model)  # the one that is spoken of first
        verdicts = {each: verdict_of(ledger, id, each) for each in models}
        cited = ClaimSentence(name, known, asserted, verdicts)
        if cited.mark:
            kind = "broken-sentence" if cited.is_broken else "undecided-sentence"
            self.concerns.append(Concern(kind, f"{self.where}:{line}", _parted(cited)))
        return self.printer.claim(cited, sentence)

    def formula(self, tex: str, display: bool = False) -> Markup:
        """`$x$`, or `$$x$$` on a line of its own; TemplateError where it is no TeX that can be shown."""
        mathml(tex, display)  # also where a later program reads the TeX itself
        return self.printer.formula(tex, display)

    def chart(self, name: str, *, model: str = "", label: str = "", caption: str = "") -> Markup:
        """A named figure of an experiment, drawn from its table; `label` is what a text refers to it by."""
        ledger, entry, figure = self._part("figures", name, model)
        if figure is None:
            return self.printer.notice(_absent("figures", name, entry))
        table = entry.tables[figure.table]
        if table.empty:
            said = f"Chart {name} is not drawn, because its table {figure.table} has no rows"
            self.concerns.append(Concern("undrawn-chart", self.where, said))
            return self.printer.notice(f"{said}.")
        id = _label(label) or _id(name, entry, ledger)
        if caption:
            figure = replace(figure, caption=Markup(caption))
        table_id = _id(f"{name.rpartition('.')[0]}.{figure.table}", entry, ledger)
        self.tables[table_id] = table
        if id not in self.charts:
            self.charts[id] = draw(figure, table)
            self.chart_calls[id] = ChartCall(
                ledger.slug, self.library.split(name)[1], model, figure.title, figure.caption
            )
        return self.printer.chart(id, figure, self.charts[id], table_id)

    def specification_curve(self, claim: str, *, model: str = "") -> Markup:
        """A claim under each of its specifications, and which choices flip it."""
        ledger, known, full = self._claim_across(claim)
        self.shown.add(f"curve of {full}")
        verdict = verdict_of(ledger, full.rpartition(".")[2], self._model(model, ledger))
        measured = [each for each in verdict.specifications if each.verdict.verdict != "unmeasured"]
        said = self.printer.paragraph(which_choices_flip(verdict.specifications))
        if not measured:
            return block(said)
        name = _file_name(f"curve-{full}" + (f"-{model}" if model and model != ledger.primary else ""))
        scale = margin_scale(known.holds)
        figure = Figure("specification_curve", name, {}, known.says or claim, CURVE_CAPTION)
        self.tables[name] = curve_table(verdict.specifications)
        self.charts[name] = specification_curve(figure.title, verdict.specifications, scale)
        self.chart_calls[name] = ChartCall(
            ledger.slug, full.rpartition(".")[2], model, figure.title, figure.caption
        )
        return block(joined([said, self.printer.chart(name, figure, self.charts[name], name)]))

    def _claim_across(self, claim: str) -> tuple[Ledger, Claim, str]:
        ledger, known, name = self._claim(claim)
        if not known.across:
            across = [name for name, other in ledger.spec.claims.items() if other.across]
            expected = "one of " + ", ".join(across) if across else "across: {...} in the spec"
            raise TemplateError(f"claim {claim!r} names no choices", expected=expected, near=across)
        return ledger, known, name

    def where_it_holds(self, slug: str = "") -> Markup:
        """Verdicts by claim and model, and the specification curves that the text has not drawn itself."""
        ledger = self.library.ledger(slug)
        prefix = "" if ledger.slug == self.library.own else f"{ledger.slug}."
        across = [f"{prefix}{name}" for name, claim in ledger.spec.claims.items() if claim.across]
        curves = [self.specification_curve(name) for name in across if f"curve of {name}" not in self.shown]
        return block(joined([where_it_holds(ledger, self.printer), *curves]))

    def assumptions(self, slug: str = "") -> Markup:
        """What makes the step from number to sentence valid."""
        ledger = self.library.ledger(slug)
        self.shown.add(f"assumptions of {ledger.slug}")
        return assumptions(ledger, self.printer)

    def how_measured(self, slug: str = "") -> Markup:
        """Runs, checks, controls; before them the assumptions, where the text has not shown them itself."""
        ledger = self.library.ledger(slug)
        before = "" if f"assumptions of {ledger.slug}" in self.shown else self.assumptions(slug)
        return block(joined([before, how_measured(ledger, self.printer)]))

    def repeat(self, slug: str = "") -> Markup:
        """The commands that measure it again, and the spec."""
        ledger = self.library.ledger(slug)
        beside = self.path.parent / "spec.yaml" if ledger.slug == self.library.own else None
        return repeat(ledger, self.printer, beside)

    def table(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        rows: int = ROWS,
        model: str = "",
        label: str = "",
        caption: str = "",
    ) -> Markup:
        """The first rows of a named table of an experiment; `label` is what a text refers to it by."""
        ledger, entry, table = self._part("tables", name, model)
        if table is None:
            return self.printer.notice(_absent("tables", name, entry))
        id = _label(label) or _id(name, entry, ledger)
        grid = grid_of(table, columns, rows)
        self.tables[id] = table
        title = Markup(caption) if caption else name
        return self.printer.table(id, title, grid, count_shown(len(grid.rows), len(table)))

    def _part(self, kind: DisplayKind, name: str, model: str) -> tuple[Ledger, Entry, Any]:
        """A figure or table with its ledger and entry; None where it cannot be shown."""
        slug, rest = self.library.split(name)
        ledger = self.library.ledger(slug)
        label, _, part = rest.rpartition(".")
        entry = ledger.entry(label, self._model(model, ledger))
        self.asked.add((slug, DisplayItem(entry.label, entry.model, kind, part)))
        parts = getattr(entry, kind)
        if is_withheld(entry) or (kind, part) in entry.left_out:
            return ledger, entry, None
        # Never measured and nothing published: nobody can tell yet whether there will be such a part.
        if not (parts or entry.left_out) and entry.state != "measured":
            return ledger, entry, None
        return ledger, entry, known_one(f"the {kind} of {label}", part, parts)

    def cite(self, *keys: str) -> Markup:
        """`{{ cite("key", "other") }}`, as `[@key; @other]`."""
        opening, closing = self.printer.brackets
        works = Markup("; ").join(self.cite_work(key) for key in keys)
        return Markup(f"{opening}{works}{closing}")

    def cite_work(self, key: str, form: CitationForm = "bracketed") -> Markup:
        """One work in a citation; TemplateError with the nearest keys for one that is not there."""
        reference = self.bibliography.cited(key)
        if key not in self.cited:
            self.cited.append(key)
        return self.printer.citation(reference, form)

    def _with_references(self, body: str) -> str:
        """The list of references in its place, or under a heading at the end."""
        if not self.cited:
            return body.replace(_REFERENCES, "")
        listed = sorted(
            (self.bibliography[key] for key in self.cited), key=lambda r: (r.names.lower(), r.year, r.key)
        )
        if _REFERENCES not in body:
            body = f"{body.rstrip()}\n\n## References\n\n{_REFERENCES}\n"
        return body.replace(_REFERENCES, self.printer.references(listed))


class _Survey(_Page):
    """A page of which one only wants to know what it asks for."""

    def chart(self, name: str, *, model: str = "", label: str = "", caption: str = "") -> Markup:
        """Asked for, not drawn."""
        self._part("figures", name, model)
        return Markup("")


def _parted(cited: ClaimSentence) -> str:
    more = why(cited.verdict)
    said = f"the sentence says that {cited.id!r} is {cited.asserted}, measured {cited.verdict.verdict}"
    return f"{said}: {more}" if more else said


def _json(spec: dict) -> str:
    return json.dumps(spec, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def _label(label: str) -> str:
    """A label of the author's own, which also names files."""
    if label and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", label):
        expected = "letters, digits, - and _, as fig-curve"
        raise TemplateError(f"{label!r} is no label", expected=expected, seen=label)
    return label


def _absent(kind: DisplayKind, name: str, entry: Entry) -> str:
    what = f"{'Chart' if kind == 'figures' else 'Table'} {name}"
    if is_withheld(entry):
        return f"{what} is withheld: {failed_checks(entry)}"
    reason = f": {entry.reason}" if entry.reason else ""
    said = f"{what} is not shown, because {entry.label} was not measured here{reason}"
    left_out = entry.left_out.get((kind, name.rpartition(".")[2]))
    return f"{said}; of what is published it was {left_out}" if left_out else said


def _id(name: str, entry: Entry, ledger: Ledger) -> str:
    """A name for files and anchors; the primary model goes without saying."""
    return _file_name(name if entry.model == ledger.primary else f"{name}-{entry.model}")


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
