"""The database behind a connection."""

from __future__ import annotations

from typing import Any

from airflow_provider_b24cal._airflow import BaseHook
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.bitrix24.validation import check_conn_id


def database_hook(sql_conn_id: object) -> Any:
    """Return the hook of a connection, which makes SQLAlchemy's engines.

    :raises InvalidArgumentError: the connection is not that of a database.
    """
    hook = BaseHook.get_hook(check_conn_id(sql_conn_id, "sql_conn_id"))
    if not hasattr(hook, "get_sqlalchemy_engine"):
        raise InvalidArgumentError(
            f"Invalid sql_conn_id {sql_conn_id!r}: expected a connection of a database; its hook is a "
            f"{type(hook).__name__}."
        )
    return hook
