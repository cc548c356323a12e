"""A result as Markdown: one table of all rows, one of each row's cells."""

from collections.abc import Iterable, Sequence

from benchmarks.model import OWN, Cell, Result, Row, RowResult
from benchmarks.report.compare import MB, Verdict, verdict
from benchmarks.summary import spread

SUMMARY_HEAD = (
    "row",
    "walpy",
    "best peer",
    "ratio",
    "target",
    "reached",
    "x floor",
    "CPU s/GB, peer's",
    "MB, peer's (target)",
    "stored MB, peer's",
)
CELL_HEAD = (
    "program",
    "median",
    "quartiles",
    "p95",
    "range, n",
    "CPU s/GB",
    "servers' CPU s/GB",
    "peak MB",
    "stored MB",
    "requests",
    "dropped",
)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; no cell breaks it."""
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)


def number(value: float | None, digits: int = 3) -> str:
    """A number with some significant digits; a dash for none."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e" in text else text


def amount(value: float, row: Row) -> str:
    """A value in the row's unit, short times in milliseconds."""
    if row.unit != "s":
        return f"{number(value)}/s"
    return f"{number(value * 1000)} ms" if value < 1 else f"{number(value)} s"


def megabytes(value: int | None) -> str:
    """Bytes as MB."""
    return "-" if value is None else number(value / MB)


def summary_table(result: Result) -> str:
    """One line for each row that compares walpy with its peers."""
    compared = (row for row in result.rows if any(cell.program == OWN and cell.is_headline for cell in row.cells))
    return table(SUMMARY_HEAD, (summary_line(row, verdict(row)) for row in compared))


def summary_line(result: RowResult, found: Verdict) -> list[str]:
    """A row in short."""
    row, own, peer = result.row, found.own, found.peer
    return [
        row.title,
        shown(own, row) if own else why_missing(result),
        f"{peer.label} {shown(peer, row)}" if peer else "none measured",
        number(found.ratio),
        "" if row.target.ratio is None else f"{'≤' if row.direction == 'less' else '≥'} {row.target.ratio:g}",
        mark(found.is_reached),
        number(found.floor_ratio),
        pair(number(own.cpu_per_gb) if own else "-", number(peer.cpu_per_gb) if peer else "-"),
        pair(megabytes(own.memory) if own else "-", megabytes(peer.memory) if peer else "-")
        + memory_target(row, found),
        pair(megabytes(own.stored) if own else "-", megabytes(peer.stored) if peer else "-"),
    ]


def shown(cell: Cell, row: Row) -> str:
    """A cell's median, with a mark when the machine was busy."""
    return amount(spread(cell.values).median, row) + (" (busy)" if cell.status == "busy" else "")


def why_missing(result: RowResult) -> str:
    """Why walpy has no value in a row."""
    reasons = [cell.reason.split("\n")[0] for cell in result.cells if cell.program == OWN and not cell.values]
    return reasons[0] if reasons else "not measured"


def pair(own: str, peer: str) -> str:
    """Two values, walpy's first."""
    return f"{own}, {peer}" if (own, peer) != ("-", "-") else "-"


def mark(is_reached: bool | None) -> str:
    """A verdict in a word."""
    return {True: "yes", False: "**no**", None: ""}[is_reached]


def memory_target(row: Row, found: Verdict) -> str:
    """The memory's target, and a mark when it is not reached."""
    if row.target.memory is None:
        return ""
    return f" (≤ {row.target.memory:g}{'' if found.is_memory_reached is not False else ': **no**'})"


def not_reached(result: Result) -> str:
    """The rows whose ratio or memory misses its target, one line each; a line that says so when there are none."""
    found = [(one.row, verdict(one)) for one in result.rows]
    lines = [
        f"- {row.title}: {number(one.ratio)} of {one.peer.label}, target {row.target.ratio:g}\n"
        for row, one in found
        if one.is_reached is False and one.peer
    ]
    lines += [
        f"- {row.title}: {megabytes(one.own.memory)} MB, target {row.target.memory:g}\n"
        for row, one in found
        if one.is_memory_reached is False and one.own
    ]
    return "".join(lines) or "- none of the rows measured here\n"


def row_section(result: RowResult) -> str:
    """A row's rule and all its cells."""
    lines = (cell_line(cell, result.row) for cell in result.cells)
    floor = f" Floor: {amount(result.floor, result.row)}." if result.floor else ""
    return f"### {result.row.title}\n\nRule: {result.row.rule}.{floor}\n\n{table(CELL_HEAD, lines)}"


def cell_line(cell: Cell, row: Row) -> list[str]:
    """All that is known of one program in one row."""
    if not cell.values:
        reason = " ".join(cell.reason.split())[:200]
        return [cell.label, f"{cell.status}: {reason}", *[""] * (len(CELL_HEAD) - 2)]
    values = spread(cell.values)
    return [
        cell.label,
        shown(cell, row),
        f"{amount(values.lower_quartile, row)} to {amount(values.upper_quartile, row)}",
        amount(values.p95, row),
        f"{amount(values.low, row)} to {amount(values.high, row)}, {values.count}",
        number(cell.cpu_per_gb),
        number(cell.servers_cpu_per_gb),
        megabytes(cell.memory),
        megabytes(cell.stored),
        ", ".join(f"{name} {count}" for name, count in sorted(cell.requests.items())) or "-",
        str(cell.dropped),
    ]


def conditions_list(result: Result) -> str:
    """The conditions of a run."""
    return "".join(f"- {name}: {value}\n" for name, value in result.conditions.items())


def whole(result: Result) -> str:
    """The report of one run."""
    sections = "\n".join(f"{row_section(row)}\n![{row.row.title}]({row.row.name}.svg)\n" for row in result.rows)
    return f"# Benchmarks\n\n{conditions_list(result)}\n{summary_table(result)}\n{sections}"
