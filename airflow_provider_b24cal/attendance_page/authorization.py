"""Who may see the page: those who may read the connection of its database."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import Depends, HTTPException, Request

_log = logging.getLogger(__name__)


def connection_readers(conn_id: str) -> list[Any]:
    """Return the dependencies of FastAPI that let in who may read a connection, and nobody else.

    Anonymous requests get 401, others 403. If Airflow's own check cannot be imported, everybody gets 403.

    :param conn_id: the connection.
    """

    async def name_connection(request: Request) -> None:
        # Airflow's check reads it there.
        request.scope["path_params"] = {**request.path_params, "connection_id": conn_id}

    try:
        from airflow_provider_b24cal._airflow import requires_access_connection

        check: Any = requires_access_connection("GET")
    except Exception:  # noqa: BLE001 - deny, whatever the reason
        _log.exception("The page Attendance is closed: Airflow's check of access cannot be imported")
        check = _deny
    return [Depends(name_connection), Depends(check)]


async def _deny() -> None:
    raise HTTPException(403, "The page cannot check access on this version of Airflow.")
