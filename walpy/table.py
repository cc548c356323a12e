"""Tables with borders of `+-|`, as WAL-G draws them."""

from collections.abc import Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """One column; those of numbers are aligned to the right, titles like their column."""

    title: str
    is_number: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """Border, titles, border, rows (if any) and border; a line each."""
    titles = [column.title for column in columns]
    widths = [max(map(len, cells)) for cells in zip(titles, *rows, strict=True)]
    border = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n"

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(cells, widths, columns, strict=True)
        )
        return "".join(f"| {cell} " for cell in aligned) + "|\n"

    return border + line(titles) + border + "".join(map(line, rows)) + border
