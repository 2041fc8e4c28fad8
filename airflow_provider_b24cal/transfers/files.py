"""Rows as the bytes of a file: JSON Lines or Parquet."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, get_type_hints

from airflow_provider_b24cal.attendance.snapshot import AnswerNow, MeetingNow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Row = MeetingNow | AnswerNow


def json_lines(kind: type[Row], rows: Sequence[Row]) -> bytes:
    """Return an object for each row, with times as ISO text in UTC."""
    assert all(type(row) is kind for row in rows)
    return "".join(f"{json.dumps(row._asdict(), ensure_ascii=False, default=_text)}\n" for row in rows).encode()


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def parquet(kind: type[Row], rows: Sequence[Row]) -> bytes:
    """Return a Parquet file whose columns have their types even without a row.

    :raises ImportError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as problem:
        raise ImportError("file_format='parquet' needs pyarrow: install airflow-provider-b24cal[parquet].") from problem
    types = {int: pa.int64(), str: pa.string(), bool: pa.bool_(), float: pa.float64()}
    fields = []
    for name, hint in get_type_hints(kind).items():
        (inner,) = [one for one in getattr(hint, "__args__", (hint,)) if one is not type(None)]
        optional = inner is not hint
        fields.append(pa.field(name, types.get(inner, pa.timestamp("us", "UTC")), nullable=optional))
    columns = list(zip(*rows, strict=True)) or [()] * len(fields)
    schema = pa.schema(fields)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema), sink)
    return bytes(sink.getvalue())


FORMATS: Final[dict[str, Callable[[type[Row], Sequence[Row]], bytes]]] = {"jsonl": json_lines, "parquet": parquet}
"""The formats by the ending of a file's name."""
