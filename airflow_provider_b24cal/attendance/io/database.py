"""The database behind a connection."""

from __future__ import annotations

from typing import Any, Final

from airflow_provider_b24cal._airflow import BaseHook
from airflow_provider_b24cal.attendance.io.sql_store import unsupported_database
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.bitrix24.validation import check_conn_id

_CONN_TYPES: Final = frozenset({"sqlite", "postgres", "mysql"})


def database_hook(sql_conn_id: object) -> Any:
    """Return the hook of a connection, which makes SQLAlchemy's engines.

    :raises InvalidArgumentError: the connection is not that of a database, or Airflow has no hook for it and it is not
        of a kind that can have the tables.
    """
    connection = BaseHook.get_connection(check_conn_id(sql_conn_id, "sql_conn_id"))
    try:
        hook = connection.get_hook()
    except Exception as error:
        if connection.conn_type in _CONN_TYPES:
            raise
        raise unsupported_database(sql_conn_id, connection.conn_type) from error
    if not hasattr(hook, "get_sqlalchemy_engine"):
        raise InvalidArgumentError(
            f"Invalid sql_conn_id {sql_conn_id!r}: expected a connection of a database; its hook is a "
            f"{type(hook).__name__}."
        )
    return hook
