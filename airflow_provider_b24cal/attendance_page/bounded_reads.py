"""Reads the database of the page in bounded time, with few threads, away from the API server's own ones."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from airflow_provider_b24cal.attendance.io.database import database_hook
from airflow_provider_b24cal.attendance.io.report_page import reading
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection, Dialect, Engine

    Result = TypeVar("Result")

THREADS: Final = 4
"""How many pages are read at a time."""
CONNECT_SECONDS: Final = 4
STATEMENT_SECONDS: Final = 5
READ_SECONDS: Final = 8
"""How long a page may take, with the wait for a thread."""
_log = logging.getLogger(__name__)


class DatabaseUnavailableError(Exception):
    """The database cannot be read; the message says why and what to do, for the readers of the page."""


class BoundedReads:
    """Runs functions on a connection of the database.

    :param conn_id: Airflow's connection.
    """

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="bitrix24-attendance-page")

    async def run(self, read: Callable[[Connection], Result]) -> Result:
        """Return what a function reads.

        :raises DatabaseUnavailableError: the database cannot be reached, refuses, or takes too long.
        :raises InvalidArgumentError: of the function, or the connection is not that of a supported database.
        """
        job = asyncio.get_running_loop().run_in_executor(self._threads, self._read, read)
        try:
            return await asyncio.wait_for(job, READ_SECONDS)
        except TimeoutError:
            raise self._unavailable(f"has not answered within {READ_SECONDS} seconds") from None

    def _read(self, read: Callable[[Connection], Result]) -> Result:
        engine: Engine | None = None
        try:
            # Errors are logged, and must not show rows.
            hook = database_hook(self._conn_id)
            engine = hook.get_sqlalchemy_engine({"hide_parameters": True, "poolclass": NullPool})
            event.listen(engine, "do_connect", _bound_connecting)
            with reading(engine) as connection:
                _bound_statements(connection)
                return read(connection)
        except (InvalidArgumentError, DatabaseUnavailableError):
            raise
        except SQLAlchemyError as error:
            original = error.orig if isinstance(error, DBAPIError) else None
            _log.warning("Cannot read the tables of attendance: %s", error)
            raise self._unavailable(f"cannot be read ({type(original or error).__name__})") from None
        except Exception as error:  # noqa: BLE001 - the connection, its secrets backend or its provider
            _log.exception("Cannot open the connection %r of the page Attendance", self._conn_id)
            raise self._unavailable(f"cannot be opened ({type(error).__name__})") from None
        finally:
            if engine is not None:
                engine.dispose()

    def _unavailable(self, what: str) -> DatabaseUnavailableError:
        return DatabaseUnavailableError(
            f"The database of the connection {self._conn_id!r} {what}. Check that the connection exists and its "
            "database runs; the log of the API server has the details. Then load this page again."
        )


def _bound_connecting(dialect: Dialect, _record: Any, address: list[Any], options: dict[str, Any]) -> None:
    """Bound the time to connect, in the words of each driver; create no file."""
    if dialect.name == "sqlite":
        file = str(address[0]) if address else ""
        if file != ":memory:" and not file.startswith("file:") and not Path(file).exists():
            raise DatabaseUnavailableError(f"There is no file {file!r}. Correct the connection of the page.")
        options.setdefault("timeout", CONNECT_SECONDS)
    elif dialect.driver == "mysqlconnector":
        options.setdefault("connection_timeout", CONNECT_SECONDS)
    else:
        options.setdefault("connect_timeout", CONNECT_SECONDS)
        if dialect.name in {"mysql", "mariadb"}:
            options.setdefault("read_timeout", STATEMENT_SECONDS)


def _bound_statements(connection: Connection) -> None:
    """Bound the time of each statement of a connection; of all of them in SQLite."""
    dialect: Any = connection.dialect
    if dialect.name == "sqlite":
        deadline = time.monotonic() + STATEMENT_SECONDS
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    elif dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {STATEMENT_SECONDS * 1000}")
    elif dialect.is_mariadb:
        connection.exec_driver_sql(f"SET SESSION max_statement_time = {STATEMENT_SECONDS}")
    else:
        connection.exec_driver_sql(f"SET SESSION max_execution_time = {STATEMENT_SECONDS * 1000}")
