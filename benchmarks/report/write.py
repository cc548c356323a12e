"""Writes a result's files, and the generated part of docs/benchmarks.md."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.model import OWN, Result, RowResult
from benchmarks.report.compare import verdict
from benchmarks.report.markdown import amount, conditions_list, not_reached, row_section, summary_table, whole
from benchmarks.report.svg import Bar, bars
from benchmarks.summary import spread

BEGIN, END = "<!-- generated: begin -->\n", "<!-- generated: end -->\n"
OVERVIEW = "overview.svg"


def plot(result: RowResult) -> str | None:
    """A row's cells as bars; None when nothing was measured, or the floor would not fit."""
    items = []
    for cell in result.cells:
        if cell.values:
            values = spread(cell.values)
            text = amount(values.median, result.row)
            items.append(Bar(cell.label, values.median, values.low, values.high, text, cell.program == OWN))
    if not items:
        return None
    floor = result.floor if result.floor and result.floor <= max(item.high for item in items) else None
    better = "less is better" if result.row.direction == "less" else "more is better"
    return bars(f"{result.row.title} ({better})", items, floor)


def overview(rows: Sequence[RowResult]) -> str | None:
    """Time relative to the best peer, all rows: below 1 walpy is first; rates are inverted."""
    items = []
    for row in rows:
        ratio = verdict(row).ratio
        if ratio:
            relative = ratio if row.row.direction == "less" else 1 / ratio
            items.append(Bar(row.row.title, relative, relative, relative, f"{relative:.2f}", relative <= 1))
    return bars("time of walpy / time of the best peer", items, 1.0, "equal") if items else None


def write_report(result: Result, output: Path) -> None:
    """Markdown and plots beside the JSON."""
    (output / "report.md").write_text(whole(result))
    write_plots(result, output)


def write_plots(result: Result, output: Path) -> None:
    """One plot for each measured row, and one of all."""
    plots = {f"{row.row.name}.svg": plot(row) for row in result.rows} | {OVERVIEW: overview(result.rows)}
    for name, content in plots.items():
        if content:
            (output / name).write_text(content)


def generated(result: Result, plots: str) -> str:
    """The part of the page that comes from a result. plots: folder of the plots, relative to the page."""
    rows = "\n".join(row_section(row) for row in result.rows)
    picture = f"![Time of walpy by that of the best peer]({plots}/{OVERVIEW})"
    missed = f"### Not reached\n\n{not_reached(result)}"
    return f"{conditions_list(result)}\n{summary_table(result)}\n{picture}\n\n{missed}\n{rows}"


def replace_generated(page: str, content: str) -> str:
    """A page with its generated part replaced. Raises ValueError when the page has no place for one."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no generated part")
    return f"{before}{BEGIN}{content}{END}{after}"
