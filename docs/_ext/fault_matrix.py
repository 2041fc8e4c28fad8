"""The matrix of faults, printed from the table that the tests run: directive ``fault-matrix``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from error_tables import Generated, reference, row

from tests.faults.table import FAULTS, PATHS

if TYPE_CHECKING:
    from sphinx.application import Sphinx

    from tests.faults.table import Cell


class FaultMatrix(Generated):
    """What happens when: a row for each fault, a column for each path."""

    def lines(self) -> list[str]:
        """Return a table."""
        heads = [head[0].upper() + head[1:] for head in PATHS.values()]
        lines = [".. list-table::", "   :header-rows: 1", "   :class: faults", "", *row("What happens", *heads)]
        for fault in FAULTS:
            cells = (_reported(path, fault.cells.get(path)) for path in PATHS)
            lines += row(fault.title, *cells)
        return lines


def _reported(path: str, cell: Cell | None) -> str:
    if cell is None:
        return "--"
    requests = _range(cell.requests)
    if cell.error is None:
        return f"recovers, {requests}"
    text = f"{reference(cell.error)}, {requests}"
    if cell.failed is not None:
        text += f"; {_range(cell.failed)} of 120 fail"
    if path == "set" and cell.stored == "Y":
        text += "; it is set"
    return text


def _range(given: tuple[int, int]) -> str:
    least, most = given
    return str(least) if least == most else f"{least} to {most}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("fault-matrix", FaultMatrix)
    return {"parallel_read_safe": True}
