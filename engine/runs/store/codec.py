"""Evidence as plain data and back: what run folders and published files both write.

Measurements, checks and figures become dictionaries that JSON can hold, tables parquet, arrays safetensors.
What JSON cannot say is put in words it can: a check that found NaN has it as text. Nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.errors import ResultError
from engine.evidence.result import Check, Figure, Measurement, Result

if TYPE_CHECKING:
    import pandas as pd

# An array's name in the file says what it is: an array of the result, or one that belongs to a measurement.
ARRAYS = "arrays"
OF_MEASUREMENTS = tuple(f.name for f in dataclasses.fields(Measurement) if "ndarray" in str(f.type))
"""The fields of a measurement that are arrays, whichever it has today."""


def fields_of(value: Any, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a dataclass, one level deep: `asdict` would copy arrays and tables as well."""
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in but}


def plain(value: Any) -> Any:
    """A numpy scalar as Python's own number, as `json.dumps(default=plain)` wants it."""
    # `json.dumps` calls this only for what it cannot write itself; numpy's scalars are not Python's numbers.
    return value.item()


def measurement_data(measurement: Measurement) -> dict[str, Any]:
    """A measurement without its samples and replicates, which are arrays."""
    return fields_of(measurement, but=OF_MEASUREMENTS)


def measurement_from(data: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> Measurement:
    """The measurement again, with the arrays that belong to it where they were kept, as by `arrays_of`."""
    own: dict[str, Any] = {kind: (arrays or {}).get(f"{kind}/{data['name']}") for kind in OF_MEASUREMENTS}
    return Measurement(**data, **own)


def check_data(check: Check) -> dict[str, Any]:
    """A check; what is not finite is text, because JSON has no NaN and a failed check has to say it."""
    value = float(check.value)
    # NaN and infinity are no JSON, and `allow_nan=False` refuses them when the file is written.
    return fields_of(check) | {"value": value if math.isfinite(value) else repr(value)}


def check_from(data: Mapping[str, Any]) -> Check:
    """The check again."""
    return Check(**{**data, "value": float(data["value"])})


def figure_data(figure: Figure) -> dict[str, Any]:
    """A figure's kind, table, columns and words."""
    return fields_of(figure)


def figure_from(data: Mapping[str, Any]) -> Figure:
    """The figure again."""
    return Figure(**data)


def result_data(result: Result) -> dict[str, Any]:
    """All of a result but the contents of its tables and arrays; tables are named."""
    return {
        "measurements": [measurement_data(m) for m in result.measurements.values()],
        "checks": [check_data(check) for check in result.checks],
        "figures": {name: figure_data(figure) for name, figure in result.figures.items()},
        "tables": [*result.tables],
    }


def result_from(
    data: Mapping[str, Any], tables: dict[str, pd.DataFrame], arrays: Mapping[str, np.ndarray]
) -> Result:
    """The result again, each measurement with its samples and replicates; `arrays` as by `arrays_of`."""
    findings: list[Measurement] = []
    controls: list[Measurement] = []
    for row in data["measurements"]:
        # A result keeps the two apart: in the file they stand in one list.
        rows = controls if row["role"] == "control" else findings
        rows.append(measurement_from(row, arrays))
    prefix = f"{ARRAYS}/"
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return Result(
        findings=findings,
        controls=controls,
        checks=[check_from(check) for check in data["checks"]],
        tables=tables,
        figures={name: figure_from(figure) for name, figure in data["figures"].items()},
        arrays=own,
    )


def arrays_of(result: Result) -> dict[str, np.ndarray]:
    """Every array of a result in one flat namespace, those of its measurements included."""
    arrays = {f"{ARRAYS}/{name}": array for name, array in result.arrays.items()}
    for measurement in result.measurements.values():
        for kind in OF_MEASUREMENTS:
            if (array := getattr(measurement, kind)) is not None:
                arrays[f"{kind}/{measurement.name}"] = array
    return arrays


def arrays_to_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as safetensors; ResultError for one that holds anything but numbers."""
    # safetensors writes the memory as it lies: a transposed view would be stored in the wrong order.
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        return save(contiguous)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ResultError("an array cannot be stored", expected="numbers", seen=str(error)) from error


def arrays_from_bytes(content: bytes) -> dict[str, np.ndarray]:
    """Arrays as `arrays_to_bytes` wrote them."""
    return load(content)


def table_to_bytes(name: str, table: pd.DataFrame) -> bytes:
    """A table as parquet; ResultError names one that holds what cannot be stored."""
    try:
        # Without the index, which is a count of rows and nothing that was measured.
        return table.to_parquet(index=False)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ResultError(f"table {name!r} cannot be stored", seen=str(error)) from error


def table_from_bytes(content: bytes) -> pd.DataFrame:
    """A table as `table_to_bytes` wrote it."""
    import pandas as pd

    return pd.read_parquet(io.BytesIO(content))
