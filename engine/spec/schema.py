"""The JSON Schema of a spec, so that an editor completes and checks it while it is written.

It says what `load_spec` says as far as a schema can: what needs two parts of a file compared (claims and
experiments, cycles, a parameter both set and swept) is left to `load_spec`. Draft 7, which editors
support best.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from engine.spec.inputs import Inputs
from engine.spec.load import EXPERIMENT_KEYS
from engine.spec.models import Spec
from engine.spec.points import FamilyCatalog

Schema = dict[str, Any]

UNDERSCORED = {"type": "string", "pattern": r"^[-+]?[1-9][0-9]*(_[0-9]+)+$"}  # 200_000, text to editors


def json_schema(catalog: FamilyCatalog) -> Schema:
    """The schema of spec.yaml in both forms, with each family's own parameters."""
    whole = Spec.model_json_schema()
    definitions = whole.pop("$defs")
    experiment = definitions["Experiment"]
    experiment["properties"]["family"]["enum"] = catalog.names()
    for name in catalog.names():
        definitions |= _family_definitions(name, catalog.params(name), catalog.inputs(name))
    experiment["allOf"] = [_when_family(name) for name in catalog.names()]
    whole["properties"] = {"model": _model_name()} | whole["properties"]
    # `model` may stand in its place: which of the two is said by `oneOf`.
    whole["required"].remove("models")
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Investigation",
        # As `is_flat` in load.py tells the two forms apart.
        "if": {"required": ["family"], "not": {"required": ["experiments"]}},
        "then": _flat(whole, experiment),
        "else": whole | _one_of_model_or_models(),
        "$defs": definitions,
    }
    return _for_editors(schema)


def _flat(whole: Schema, experiment: Schema) -> Schema:
    """The form of a single experiment: its own keys at the top, beside those of a spec."""
    properties = {k: v for k, v in whole["properties"].items() if k != "experiments"}
    properties |= {k: v for k, v in experiment["properties"].items() if k in EXPERIMENT_KEYS}
    return {
        "description": "A single experiment, for `mech run --spec FILE`.",
        "type": "object",
        "properties": properties,
        "required": ["family"],
        "additionalProperties": False,
        "allOf": experiment["allOf"],
    } | _one_of_model_or_models()


def _model_name() -> Schema:
    description = "The model to measure on, where there is only one."
    return {"type": "string", "pattern": r"\S", "description": description}


def _one_of_model_or_models() -> Schema:
    return {"oneOf": [{"required": ["model"]}, {"required": ["models"]}]}


def _when_family(name: str) -> Schema:
    condition = {"properties": {"family": {"const": name}}, "required": ["family"]}
    return {"if": condition, "then": {"$ref": f"#/$defs/family.{name}"}}


def _family_definitions(name: str, params: type[BaseModel], inputs: Inputs | None) -> dict[str, Schema]:
    """What an experiment of one family may say, and the models nested in its parameters."""
    schema = params.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    nested = schema.pop("$defs", {})
    # Not required under `parameters`, since a required parameter may be swept instead.
    required = schema.pop("required", [])
    fields = schema.get("properties", {})
    sweep = {
        "type": "object",
        "properties": {key: {"type": "array", "items": field} for key, field in fields.items()},
        "additionalProperties": False,
    }
    properties: Schema = {"parameters": schema, "sweep": sweep}
    family = {"properties": properties, "allOf": [_given(key) for key in required]}
    if inputs is not None:
        reads = {"prompts": inputs.prompts is not None, "corpus": inputs.corpus, "hook_site": inputs.site}
        family["required"] = [key for key, is_read in reads.items() if is_read]
        # `False` refuses the key: an input that the family would ignore.
        properties |= {key: False for key, is_read in reads.items() if not is_read}
    return {f"family.{name}": family} | {f"{name}.{key}": model for key, model in nested.items()}


def _given(key: str) -> Schema:
    """A required parameter is given under parameters or under sweep."""
    places = [
        {"properties": {place: {"required": [key]}}, "required": [place]} for place in ("parameters", "sweep")
    ]
    return {"anyOf": places}


def _for_editors(schema: Any) -> Any:
    """Closed patterns, and whole numbers that may be written `200_000`."""
    if isinstance(schema, list):
        return [_for_editors(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _for_editors(value) for key, value in schema.items()}
    # pydantic leaves a mapping with patterned keys open to all others.
    if "patternProperties" in plain:
        plain["additionalProperties"] = False
    if plain.get("type") == "integer":
        # What describes a value stays outside of `anyOf`, where editors look for it.
        about = {k: plain.pop(k) for k in ("title", "description", "default") if k in plain}
        return about | {"anyOf": [plain, UNDERSCORED]}
    return plain
