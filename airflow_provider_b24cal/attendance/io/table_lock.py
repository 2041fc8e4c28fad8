"""The lock of the tables: a run holds it from before it reads a part of a portal until that part is written.

It belongs to a session of the database, which also writes. So it ends with the session, a killed run leaves none, and a
run that has lost it cannot write.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Table
    from sqlalchemy.engine import Connection, Engine, Transaction

LOCK_SECONDS: Final = 600
"""Seconds that a run waits for others that hold the lock."""
_ISOLATION: Final = "READ COMMITTED"
"""After waiting for the lock, a run has to see what was committed meanwhile."""


@contextmanager
def lock_tables(engine: Engine, table: Table, seconds: int = LOCK_SECONDS) -> Iterator[Connection]:
    """Hold a lock during a ``with`` block, and yield its session.

    :param table: the first of the tables that are locked.
    :param seconds: how long to wait for the lock at most.
    :raises TimeoutError: others have held it for that long.
    :raises ConnectionError: the session was lost, and the lock with it.
    """
    kind = engine.dialect.name
    options = {} if kind == "sqlite" else {"isolation_level": _ISOLATION}
    with engine.connect().execution_options(**options) as session:
        session.detach()  # The end of the session is that of the lock, so no pool may keep it.
        if not _acquire(session, table, seconds):
            raise TimeoutError(f"Other runs have held the lock of {table} for {seconds} s. Run the task again later.")
        try:
            yield session
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            raise ConnectionError(
                f"The database session that held the lock of {table} was lost. Run the task again: it reads this part "
                "again."
            ) from error


def reading(session: Connection) -> AbstractContextManager[object]:
    """Return a transaction of a session that holds the lock, which ends before the portal is read again."""
    return nullcontext() if session.in_transaction() else session.begin()


def transaction(session: Connection) -> Transaction:
    """Return a transaction of a session that holds the lock."""
    # In SQLite the lock is one already.
    return session.get_transaction() or session.begin()


def _acquire(session: Connection, table: Table, seconds: int) -> bool:
    """Wait for the lock; return whether it is held."""
    started = monotonic()
    try:
        return LOCKS[session.dialect.name](session, table, seconds)
    except DBAPIError:
        if monotonic() - started < seconds:
            raise
        return False


def _sqlite(session: Connection, _: Table, seconds: int) -> bool:
    session.begin()
    session.exec_driver_sql(f"PRAGMA busy_timeout = {seconds * 1000}")
    session.exec_driver_sql("BEGIN IMMEDIATE")
    return True


_SCHEMA: Final = text(
    "SELECT nspname FROM pg_namespace JOIN pg_class ON pg_namespace.oid = relnamespace "
    "WHERE pg_class.oid = to_regclass(:name)"
)


def _postgresql(session: Connection, table: Table, seconds: int) -> bool:
    # The lock is that of one database.
    with session.begin():
        found = session.execute(_SCHEMA, {"name": session.dialect.identifier_preparer.format_table(table)}).scalar()
        digest = _digest(found or table.schema or session.dialect.default_schema_name, table)
        number = int.from_bytes(digest[:8], "big", signed=True)
        session.exec_driver_sql(f"SET lock_timeout = {seconds * 1000}")
        session.execute(select(func.pg_advisory_lock(number)))
    return True


def _mysql(session: Connection, table: Table, seconds: int) -> bool:
    # The lock is that of the whole server, where a schema is a database.
    name = _digest(table.schema or session.dialect.default_schema_name, table).hex()[:60]
    with session.begin():
        return session.execute(select(func.get_lock(name, seconds))).scalar() == 1


def _digest(schema: str | None, table: Table) -> bytes:
    """Return the lock's name: tables of one schema have one, whether or not the schema was given."""
    return sha256(f"b24cal.{schema}.{table.name}".encode()).digest()


LOCKS: Final[dict[str, Callable[[Connection, Table, int], bool]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
}
"""The functions that take the lock, by the database's dialect."""
