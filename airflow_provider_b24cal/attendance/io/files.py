"""Encodes rows as JSON Lines or Parquet."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.attendance.snapshot import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_b24cal.attendance.models import Attendance, Meeting, Person
    from airflow_provider_b24cal.attendance.snapshot import Record

FORMATS: Final = ("jsonl", "parquet")
"""The formats; also the suffixes of the files."""


def content(ending: str, kind: type[Meeting | Attendance | Person], records: Sequence[Record]) -> bytes:
    """Return the content of a file of records of one kind.

    :param ending: one of :data:`FORMATS`.
    :raises ImportError: pyarrow is needed and not installed.
    """
    return parquet(columns(kind), records) if ending == "parquet" else json_lines(records)


def json_lines(records: Sequence[Record]) -> bytes:
    """Return an object for each record, with times as ISO text in UTC."""
    return "".join(f"{json.dumps(record, ensure_ascii=False, default=_text)}\n" for record in records).encode()


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def parquet(types: dict[str, Any], records: Sequence[Record]) -> bytes:
    """Return a Parquet file; its columns have their types even if they are empty.

    :param types: Python's types of the columns.
    :raises ImportError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as problem:
        raise ImportError("file_format='parquet' needs pyarrow: install airflow-provider-b24cal[parquet].") from problem
    arrow = {
        int: pa.int64(), str: pa.string(), bool: pa.bool_(), float: pa.float64(), datetime: pa.timestamp("us", "UTC"),
    }  # fmt: skip
    fields = []
    for name, hint in types.items():
        (inner,) = [one for one in getattr(hint, "__args__", (hint,)) if one is not type(None)]
        fields.append(pa.field(name, arrow[inner], nullable=inner is not hint))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(records), schema=pa.schema(fields)), sink)
    return bytes(sink.getvalue())
