"""Tables of the columns of attendance, made at build time from the tables that the provider itself keeps.

``attendance-schema`` lists the columns of each field of ``Rows``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from error_tables import Generated, row

from airflow_provider_b24cal.attendance.io.rows import schema

if TYPE_CHECKING:
    from sphinx.application import Sphinx


class SchemaTables(Generated):
    """One table for each kind of rows."""

    def lines(self) -> list[str]:
        """Return the tables."""
        lines: list[str] = []
        for field, columns in schema().items():
            lines += [f".. list-table:: ``{field}``", "   :header-rows: 1", "   :widths: 40 30 30", ""]
            lines += row("Column", "Type", "Null")
            for name, column in columns.items():
                null = "never; primary key" if column["primary_key"] else "allowed" if column["nullable"] else "never"
                lines += row(f"``{name}``", column["data_type"], null)
            lines.append("")
        return lines


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("attendance-schema", SchemaTables)
    return {"parallel_read_safe": True}
