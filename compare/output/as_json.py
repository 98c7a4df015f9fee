"""Write results as JSON: verdicts, every raw sample, and the environment."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from compare.execution.runner import Row
from compare.release.environment import environment


def write_json(path: Path, **results: Any) -> None:
    """Write results and the environment; NaN and infinity are written as strings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = _plain({"environment": environment(), **results})
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """Return a value as JSON types: dataclasses as dicts, arrays as lists."""
    if isinstance(value, Row):
        return _plain(_as_json(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: _plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no NaN and no infinity
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _as_json(row: Row) -> dict[str, Any]:
    record: dict[str, Any] = {"scenario": row.scenario.name, "shows": row.scenario.shows}
    if row.error:
        record["error"] = str(row.error)
    if row.parity:
        record["parity"] = {
            "class": row.scenario.exactness,
            "identical": row.parity.identical,
            "one_by_one": row.parity.one_by_one,
            "compared": row.parity.compared,
            "differences": [str(difference) for difference in row.parity.differences[:100]],
            "differing": len(row.parity.differences),
            "reference_against_itself": [
                str(difference) for difference in row.parity.unrepeatable[:100]
            ],
        }
    if row.throughput:
        record["throughput"] = {
            "steps": row.throughput.steps,
            "reference_us_per_step": row.throughput.reference,
            "candidate_us_per_step": row.throughput.candidate,
            "reference_again_us_per_step": row.throughput.again,
            **vars(row.throughput.ratio),
            "within_noise": row.throughput.ratio.is_within(row.throughput.noise),
        }
    return record
