"""Encodes rows as JSON Lines or Parquet, and replaces files as a whole."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from airflow_provider_b24cal.attendance.snapshot import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_b24cal.attendance.snapshot import Kind, Record

FORMATS: Final = ("jsonl", "parquet")
"""The formats; also the suffixes of the files."""


def content(ending: str, kind: Kind, records: Sequence[Record]) -> bytes:
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


_BUCKETS: Final = frozenset({"s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "adl"})
"""Stores without folders. To create a folder there creates a bucket, also for a mistyped name."""


def write(place: Any, content: bytes) -> None:
    """Replace a file as a whole, and create its folder where there are folders.

    :param place: an ``ObjectStoragePath``.
    :raises OSError: nothing was replaced, such as for a full disk; the error names the file.
    """
    if place.protocol in {"", "file", "local"}:  # an absolute folder has none
        _replace(Path(place.path), content)
        return
    try:
        # One call, which a store of objects completes as a whole or not at all.
        place.fs.pipe_file(place.path, content)
    except FileNotFoundError:
        if place.protocol in _BUCKETS:
            raise
        place.parent.mkdir(parents=True, exist_ok=True)
        place.fs.pipe_file(place.path, content)


def _replace(path: Path, content: bytes) -> None:
    # No pattern such as *.jsonl finds this name.
    aside = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_bytes(content)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; the file was not replaced", str(path)) from error


def remove(place: Any) -> bool:
    """Remove a file; return whether there was one.

    :param place: an ``ObjectStoragePath``.
    """
    if not place.exists():
        return False
    place.unlink(missing_ok=True)
    return True
