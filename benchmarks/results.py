"""Results as JSON: written after every row, so that an interrupted run keeps what it measured."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.model import Cell, Result, Row, RowResult, Target

FORMAT = 1


def save(result: Result, path: Path) -> None:
    """Write a result."""
    path.write_text(json.dumps({"format": FORMAT, **asdict(result)}, indent=1) + "\n")


def load(path: Path) -> Result:
    """Read a result. Raises ValueError for another format."""
    content = json.loads(path.read_text())
    if content.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is no result of this version")
    return Result(content["conditions"], [row_result(one) for one in content["rows"]])


def row_result(content: dict[str, Any]) -> RowResult:
    """One row's part."""
    row = dict(content["row"])
    target = Target(**row.pop("target"))
    return RowResult(Row(target=target, **row), [Cell(**cell) for cell in content["cells"]], content["floor"])


def merged(first: Result, second: Result) -> Result:
    """Both runs' rows; where both have one, the second's. The conditions are the second's."""
    newer = {one.row.name: one for one in second.rows}
    older = [newer.pop(one.row.name, one) for one in first.rows]
    return Result(second.conditions, [*older, *newer.values()])
