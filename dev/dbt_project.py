"""Writes the dbt files of the documentation from the tables of the provider: ``python -m dev.dbt_project``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from airflow_provider_b24cal.attendance.io.tables import TableNames, define
from airflow_provider_b24cal.attendance.io.views import VIEWS

FOLDER = Path(__file__).parents[1] / "docs" / "dbt"
SOURCE = "bitrix24"
MODEL = "attendance_current"
_NOTE = "Written by: python -m dev.dbt_project"


def files() -> dict[str, str]:
    """Return the texts of the files by their paths in the folder of the project."""
    tables = define(TableNames())._asdict()
    sources = {"sources": [_source(list(tables.values()))]}
    names = {kind: f"{{{{ source('{SOURCE}', '{table.name}') }}}}" for kind, table in tables.items()}
    return {
        "models/sources.yml": f"# {_NOTE}\n{yaml.safe_dump(sources, sort_keys=False, width=110)}",
        f"models/{MODEL}.sql": f"-- {_NOTE}\n{VIEWS['current'].format_map(names)}\n",
    }


def _source(tables: list[Any]) -> dict[str, Any]:
    return {
        "name": SOURCE,
        "description": "Attendance of Bitrix24 meetings, kept by Bitrix24AttendanceToSqlOperator",
        "schema": "{{ var('bitrix24_schema', target.schema) }}",
        "tables": [
            {
                "name": str(table.name),
                "description": table.comment,
                **(_FRESHNESS if table is tables[0] else {}),
                "columns": [{"name": str(column.name), "description": column.comment} for column in table.columns],
            }
            for table in tables
        ],
    }


# Every sync that reads a meeting writes when it was seen.
_FRESHNESS = {
    "config": {
        "loaded_at_field": "last_seen",
        "freshness": {
            "warn_after": {"count": 36, "period": "hour"},
            "error_after": {"count": 72, "period": "hour"},
        },
    }
}


def main() -> None:
    """Write the files."""
    for path, text in files().items():
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / path).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
