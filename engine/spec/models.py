"""What a spec may say: the pydantic models behind spec.yaml.

The JSON Schema for editors and the reference page are derived from the docstrings here.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from engine.spec.identifiers import ADDRESS_PATTERN, DOI_PATTERN, ORCID_PATTERN, address, doi, orcid

NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]*$"
TEXT_PATTERN = r"\S"
DATE_PATTERN = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"
CHOICE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]*\.[A-Za-z_][A-Za-z0-9_]*$"

Text = Annotated[str, StringConstraints(pattern=TEXT_PATTERN)]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Choice = Annotated[str, StringConstraints(pattern=CHOICE_PATTERN)]
Date = Annotated[str, StringConstraints(pattern=DATE_PATTERN)]
Scalar = bool | int | float | str
Positive = Annotated[int, Field(gt=0)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _absent(value: object) -> bool:
    return value is None or value == {}


PromptRow = Annotated[dict[Text, Scalar | None], Field(min_length=1)]


class PromptChoice(Strict):
    """Which prompts: a packaged set, a file, a dataset of the hub or rows written here; and which of them."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["name"]}, {"required": ["rows"]}]},
    )

    name: Text | None = None
    """A packaged prompt set (`facts`), the path of a CSV, JSONL or parquet file beside the spec, or a dataset
    of the hub (`org/name`)."""
    relations: Annotated[list[Text], Field(min_length=1)] | None = None
    """Only these relations; all of them when left out."""
    limit: Positive | None = None
    """At most this many prompts; all of them when left out."""
    clusters: Text | None = None
    """The column whose equal entries make prompts one cluster; when left out the first of relation, template,
    subject, document and topic that tells prompts apart."""
    # Left out of what is hashed where they are not used: a set without them is what it was before there were
    # any.
    rows: Annotated[list[PromptRow], Field(min_length=1)] | None = Field(default=None, exclude_if=_absent)
    """The prompts themselves, in place of a name."""
    columns: dict[Text, Text] = Field(default={}, exclude_if=_absent)
    """What the file calls the columns that go by other names here, as `{prompt: question}`."""
    split: Text | None = Field(default=None, exclude_if=_absent)
    """Which split of a dataset of the hub; `train` when left out."""
    configuration: Text | None = Field(default=None, exclude_if=_absent)
    """Which configuration of a dataset of the hub, where it has several."""

    @model_validator(mode="after")
    def _name_or_rows(self) -> PromptChoice:
        if (self.name is None) == (self.rows is None):
            seen = "neither" if self.name is None else "both"
            raise ValueError(f"{seen} of name and rows, of which prompts need one")
        return self

    @property
    def label(self) -> str:
        """What a person calls these prompts."""
        return self.name or f"{len(self.rows or ())} rows of the spec"

    @property
    def rows_hash(self) -> str:
        """SHA-256 of the rows that are written here."""
        return hashlib.sha256(json.dumps(self.rows, sort_keys=True).encode()).hexdigest()


class CorpusChoice(Strict):
    """Which text, and how many tokens of it."""

    name: Text
    """A packaged corpus (`smollm2-samples`), a hub corpus, or the path of a text, JSONL or parquet file."""
    tokens: Positive | None = None
    """At most this many tokens. When left out: all of a packaged corpus or a file; of a hub corpus the
    documents that its name speaks of (`openwebtext-100`: the first 100)."""


def _string_of(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


Orcid = Annotated[str, AfterValidator(orcid), _string_of(ORCID_PATTERN)]
Doi = Annotated[str, AfterValidator(doi), _string_of(DOI_PATTERN)]
Address = Annotated[str, AfterValidator(address), _string_of(ADDRESS_PATTERN)]


def _named(value: object) -> object:
    """A bare string stands for `{name: string}`."""
    return {"name": value} if isinstance(value, str) else value


Prompts = Annotated[
    PromptChoice | None, BeforeValidator(_named, json_schema_input_type=Text | PromptChoice | None)
]
Corpus = Annotated[
    CorpusChoice | None, BeforeValidator(_named, json_schema_input_type=Text | CorpusChoice | None)
]
SweptValues = Annotated[list[Scalar], Field(min_length=1, json_schema_extra={"uniqueItems": True})]


class Experiment(Strict):
    """One named entry of a spec: a family, a hook site, parameters and data."""

    family: Text
    """The experiment kind: a file of `engine/families/`, listed by `engine families`."""
    name: Text | None = None
    """The name for `mech run --name`, in place of `slug/experiment`."""
    hook_site: Text | None = None
    """Where in the model, by TransformerLens name; `blocks.50%.hook_resid_pre` is a relative depth."""
    prompts: Prompts = None
    """The prompts to run: a set's name, `{name, relations, limit}`, or `{rows: [...]}`."""
    corpus: Corpus = None
    """The text to run over: a corpus's name, or `{name, tokens}`."""
    parameters: dict[str, Any] = {}
    """The family's own parameters; those left out keep their defaults."""
    sweep: Annotated[dict[str, SweptValues], Field(json_schema_extra={"minProperties": 1})] = {}
    """Parameters that take several values; each point of their product is a run of its own."""
    uses: dict[str, Name] = {}
    """Experiments whose results this one needs, by the role they play in it."""
    models: Annotated[list[Text], Field(min_length=1, json_schema_extra={"uniqueItems": True})] | None = None
    """The models of this spec to run it on; all of them when left out."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The number format that the model runs in."""


class PublishedStatement(Strict):
    """A statement that others made and a claim tests: it is shown on the page of published statements."""

    says: Text | None = None
    """The statement as it was made; by default what the claim says."""
    of: Text | None = None
    """The model that it was made of, in words where that is no model's name; by default `about`."""
    source: Text
    """Where it was published: a key of references.bib with its place (`@arditi2024, section 3`), or words."""
    founding: bool = False
    """Whether the project was begun in order to test it; such statements stand first."""


class Claim(Strict):
    """A predicate over measurements, registered before the measurement."""

    holds: Text
    """What is claimed, in the claim language: `lens.commit_layer > lens.chance_commit_layer`."""
    requires: list[Text] = []
    """Controls without which the claim cannot be supported; a contradiction stands without them."""
    valid_if: list[Text] = []
    """Predicates without which the claim says nothing either way, such as a positive control."""
    population: Literal["these", "like-these"] = "like-these"
    """What the claim is about: `these` clusters that were measured (the relations, templates, documents of
    the spec), or more that are `like-these`, which clusters are then resampled for."""
    about: Text | None = None
    """The model that the statement was made about. On any other model it is `found here` or `not found here`:
    a stand-in supports or contradicts nothing that was said of another model."""
    published: PublishedStatement | None = None
    """The published statement that the claim tests, with its source."""
    across: dict[Choice, SweptValues] = {}
    """Choices that the claim should survive, as `experiment.parameter: [values]`. Every combination is a
    specification, measured like a sweep point; the claim is judged on each of them."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The share of the specifications that must agree: by default all of them."""
    registered: Date | None = None
    """The date on which it was written down, as 2026-01-31."""
    says: Text | None = None
    """The claim in words, for tables."""


def _none(value: object) -> object:
    """`none` says outright that there are none."""
    return [] if value == "none" else value


StressedBy = Annotated[
    list[Name], BeforeValidator(_none, json_schema_input_type=Literal["none"] | list[Name])
]


class Assumption(Strict):
    """What has to be so for the step from a number to its sentence to be valid."""

    text: Text
    """The assumption, as a sentence that could be false."""
    kind: Literal["statistical", "internal", "construct", "external"] | None = None
    """Which step needs it (Shadish, Cook & Campbell 2002): from samples to a number (`statistical`), from a
    difference to its cause (`internal`), from a number to the notion that it stands for (`construct`), from
    these models and data to others (`external`)."""
    stressed_by: StressedBy
    """The claims and experiments here that would come out otherwise were it false, or `none`."""


class Contributor(Strict):
    """One of the authors, as the page and its citation name them."""

    name: Text
    """The name as it is printed: `Ada Lovelace`, or `Lovelace, Ada` where it is not plain which part is the
    family's."""
    orcid: Orcid | None = None
    """The ORCID, `0000-0002-1825-0097`; its last digit is checked."""
    affiliation: Text | None = None
    """Where they work."""
    group: bool = False
    """Whether this is a group or an institution, whose name has no family name in it."""


Contributors = Annotated[
    list[Annotated[Contributor, BeforeValidator(_named, json_schema_input_type=Text | Contributor)]],
    Field(min_length=1),
]


class KeyNumber(Strict):
    """A number that a report opens with, and what it is to be read against."""

    number: Text
    """The number, as `experiment.measurement`."""
    says: Text
    """What it is, in words that stand below it."""
    percent: bool = False
    """Whether it and its control are written as percentages; as the headline writes them."""
    control: Text | None = None
    """What it is read against, as `experiment.measurement`; by default the control that it has by itself."""
    control_says: Text | None = None
    """The control in words; by default what its experiment says of it."""


class Spec(Strict):
    """An investigation: a question, its experiments and its claims."""

    title: Text
    """The heading of the report."""
    question: str
    """The question in one sentence, for the index of investigations."""
    models: Annotated[list[Text], Field(min_length=1, json_schema_extra={"uniqueItems": True})]
    """The models to measure on. The first is primary: the prose reads its numbers."""
    experiments: Annotated[dict[Name, Experiment], Field(min_length=1)]
    """The experiments by name."""
    claims: dict[Name, Claim] = {}
    """The claims by id, judged on every model."""
    evidence: Literal["causal", "mixed", "correlational", "descriptive"] | None = None
    """What kind of evidence this is: of interventions (`causal`), of what goes together (`correlational`), of
    what is there (`descriptive`), or of several kinds (`mixed`)."""
    assumptions: list[Assumption] = []
    """What makes the step from number to sentence valid, each with what stresses it; the page shows them."""
    headline: str = ""
    """The answer in one sentence of template text: the report, the home page and the index open with it."""
    key_numbers: Annotated[list[KeyNumber], Field(max_length=3)] = []
    """Up to three numbers that the report and the home page open with, each beside its control."""
    tags: list[Text] = []
    """Words to file the investigation under."""
    authors: Contributors | None = None
    """Who is to be cited, in order: a name each, or `{name, orcid, affiliation, group}`. When left out, those
    of CITATION.cff."""
    version: Text | None = None
    """The version to be cited, in quotes where it looks like a number; that of CITATION.cff when left out."""
    doi: Doi | None = None
    """The DOI of this investigation, `10.5281/zenodo.1234567`, where it has one."""
    repository: Address | None = None
    """Where its sources lie, for the links on its page; `repository` under `extra` in mkdocs.yml, or else
    `repository-code` of CITATION.cff, when left out."""
