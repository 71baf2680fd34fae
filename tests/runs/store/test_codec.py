"""Evidence as plain data is JSON, and the same evidence again when it is read."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from engine.errors import ResultError
from engine.evidence.result import Check, Figure, Measurement, Result
from engine.runs.store import codec


def through_json(data: dict) -> dict:
    return json.loads(json.dumps(data, allow_nan=False, default=codec.plain))


def test_a_measurement_comes_back_with_the_arrays_that_are_kept_beside_it() -> None:
    score = Measurement("score", np.float64(2.5), 2.0, None, 4, "prompt", note="few", samples=np.arange(4.0))
    data = through_json(codec.measurement_data(score))
    assert not {"samples", "replicates"} & data.keys()
    again = codec.measurement_from(data, {f"samples/{score.name}": np.asarray(score.samples)})
    assert again == score
    assert again.samples is score.samples
    assert again.replicates is None


@pytest.mark.parametrize("value", [1e-9, float("nan"), float("inf"), -float("inf")])
def test_a_check_keeps_a_value_that_json_cannot_hold(value: float) -> None:
    again = codec.check_from(through_json(codec.check_data(Check("c", value, 1e-5, "a = b"))))
    assert again.value == value or (math.isnan(again.value) and math.isnan(value))
    assert again.passed == (value == 1e-9)


def test_a_figure_comes_back_with_numpy_numbers_as_plain_ones() -> None:
    options = {"top": np.int64(3)}
    figure = Figure("bar", "t", {"x": "n"}, "F", options=options)  # pyright: ignore[reportArgumentType]
    again = codec.figure_from(through_json(codec.figure_data(figure)))
    assert again == figure
    assert type(again.options["top"]) is int


def test_a_result_comes_back_with_roles_tables_and_arrays() -> None:
    score = Measurement("score", 1.0, 0.5, 1.5, 2, "prompt", samples=np.ones(2), replicates=np.ones(3))
    table = pd.DataFrame({"x": [0.1, np.nan], "word": ["a", None]})
    result = Result(
        findings=[score],
        controls=[Measurement("chance", 0.0, None, None, 2, "prompt")],
        tables={"t": table},
        arrays={"raw": np.arange(6).reshape(2, 3).T},
    )
    arrays = codec.arrays_from_bytes(codec.arrays_to_bytes(codec.arrays_of(result)))
    assert arrays.keys() == {"arrays/raw", "samples/score", "replicates/score"}
    tables = {"t": codec.table_from_bytes(codec.table_to_bytes("t", table))}
    again = codec.result_from(through_json(codec.result_data(result)), tables, arrays)
    assert again.measurements == result.measurements
    assert [m.name for m in again.controls] == ["chance"]
    assert np.array_equal(again.arrays["raw"], result.arrays["raw"])
    assert_frame_equal(again.tables["t"], table)
    assert again.measurements["score"].replicates is not None


def test_what_is_no_number_and_no_table_is_refused_by_name() -> None:
    with pytest.raises(ResultError, match="array cannot be stored"):
        codec.arrays_to_bytes({"a": np.array([object()], dtype=object)})
    with pytest.raises(ResultError, match="'words' cannot be stored"):
        codec.table_to_bytes("words", pd.DataFrame({"x": [object()]}))


def test_every_field_of_a_measurement_that_is_an_array_is_kept_whichever_there_are() -> None:
    fields = [f.name for f in dataclasses.fields(Measurement) if "ndarray" in str(f.type)]
    assert {"samples", "replicates"} < {*fields}
    given = {name: np.arange(4.0) + place for place, name in enumerate(fields)}
    score = Measurement("score", 2.5, 2.0, 3.0, 4, "prompt", **given)  # pyright: ignore[reportArgumentType]
    result = Result(findings=[score])
    arrays = codec.arrays_from_bytes(codec.arrays_to_bytes(codec.arrays_of(result)))
    again = codec.result_from(through_json(codec.result_data(result)), {}, arrays).findings[0]
    for name, array in given.items():
        assert np.array_equal(getattr(again, name), array), name
