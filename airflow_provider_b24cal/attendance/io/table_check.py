"""Checks a database and its tables before a portal is read, and writes the statements that complete them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import false, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable, SetColumnComment, SetTableComment

from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.bitrix24.validation import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import Column, Table
    from sqlalchemy.engine import Connection, Dialect
    from sqlalchemy.engine.reflection import Inspector
    from sqlalchemy.schema import DDLElement

_NAME_BYTES: Final = 63


def check_database(session: Connection, tables: Mapping[str, Table]) -> None:
    """Check that a database can have the tables.

    :param tables: by their fields of :class:`~airflow_provider_b24cal.attendance.io.tables.Tables`.

    :raises InvalidArgumentError: the schema does not exist, a name is too long, or the connection cannot carry all
        characters.
    """
    (schema,), dialect = {table.schema for table in tables.values()}, session.dialect
    named = {"schema": schema or "", **{f"{field}_table": table.name for field, table in tables.items()}}
    for argument, name in named.items():
        if dialect.name == "postgresql" and len(name.encode()) > _NAME_BYTES:
            raise invalid(argument, name, f"a name of at most {_NAME_BYTES} bytes; PostgreSQL cuts longer ones")
    if schema is not None and schema not in inspect(session).get_schema_names():
        raise invalid("schema", schema, "a schema that exists in the database")
    if dialect.name in ("mysql", "mariadb"):
        charset = session.exec_driver_sql("SELECT @@character_set_client").scalar()
        if charset != "utf8mb4":
            raise InvalidArgumentError(
                f"Invalid sql_conn_id: expected a connection with the character set utf8mb4; its set is {charset!r}. "
                'Set {"charset": "utf8mb4"} in the extra of the connection.'
            )


def missing_parts(session: Connection, tables: Iterable[Table], *, indexes: bool) -> dict[str, list[str]]:
    """Return what is missing of tables, in words, with the statements that add it.

    :param indexes: also the indexes that are missing.
    :raises InvalidArgumentError: a table has another primary key, or lacks a column without which it is no such table.
    """
    known, parts = inspect(session), dict[str, list[str]]()
    for table in tables:
        if not known.has_table(table.name, schema=table.schema):
            parts[f"table {table}"] = [_text(one, session.dialect) for one in _creation(table, session.dialect)]
            continue
        for column in _missing_columns(known, table):
            parts[f"column {table}.{column.name}"] = list(_addition(table, column, session.dialect))
        if indexes:
            there = [index["column_names"] for index in known.get_indexes(table.name, schema=table.schema)]
            for index in table.indexes:
                if [column.name for column in index.columns] not in there:
                    parts[f"index {index.name}"] = [_text(CreateIndex(index), session.dialect)]
    return parts


def run(session: Connection, statements: Iterable[str]) -> None:
    """Run statements of :func:`missing_parts`.

    :raises InvalidArgumentError: the database refuses one.
    """
    for statement in statements:
        try:
            session.exec_driver_sql(statement)
        except DBAPIError as error:
            raise InvalidArgumentError(
                f"Cannot create what is missing: the database refuses it: {_first_line(error)}. Let somebody who may "
                f"run:\n{as_text([statement], session.dialect)}"
            ) from None


def as_text(statements: Iterable[str], dialect: Dialect) -> str:
    """Return statements for somebody who runs them in a client of the database."""
    text = "\n".join(f"{statement};" for statement in statements)
    return text.replace("%%", "%") if dialect.paramstyle in ("format", "pyformat") else text


def check_rights(session: Connection, tables: Iterable[Table], rights: Iterable[str]) -> None:
    """Check what the session may do with the tables, by statements that touch no row.

    :param rights: some of ``SELECT``, ``INSERT``, ``UPDATE`` and ``DELETE``.
    :raises InvalidArgumentError: it has not all of the rights.
    """
    for table in tables:
        nothing = select(*table.columns).where(false())
        attempts: dict[str, Any] = {
            "SELECT": nothing,
            "INSERT": table.insert().from_select([column.name for column in table.columns], nothing),
            "UPDATE": table.update().where(false()).values(portal=table.c.portal),
            "DELETE": table.delete().where(false()),
        }
        for right in rights:
            try:
                session.execute(attempts[right])
            except DBAPIError as error:
                raise InvalidArgumentError(
                    f"Invalid sql_conn_id: expected a user who has the right {right} on {table}; the database says: "
                    f"{_first_line(error)}."
                ) from None


def _missing_columns(known: Inspector, table: Table) -> list[Column[Any]]:
    there = {column["name"] for column in known.get_columns(table.name, schema=table.schema)}
    missing = [column for column in table.columns if column.name not in there]
    if needed := [column.name for column in missing if not column.nullable]:
        raise InvalidArgumentError(
            f"The table {table} has no column {', '.join(needed)}: it is not a table of this kind. Name another table, "
            "or rename this one."
        )
    key = known.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]
    wanted = [column.name for column in table.primary_key.columns]
    if set(key) != set(wanted):
        raise InvalidArgumentError(
            f"The table {table} has the primary key ({', '.join(key)}); expected ({', '.join(wanted)}). Without "
            "it rows would be stored twice."
        )
    return missing


def _creation(table: Table, dialect: Dialect) -> Iterator[DDLElement]:
    yield CreateTable(table)
    yield from map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))
    if dialect.supports_comments and not dialect.inline_comments:
        yield SetTableComment(table)
        yield from map(SetColumnComment, table.columns)


def _addition(table: Table, column: Column[Any], dialect: Dialect) -> Iterator[str]:
    compiler: Any = dialect.ddl_compiler(dialect, CreateTable(table))
    name = dialect.identifier_preparer.format_table(table)
    yield f"ALTER TABLE {name} ADD COLUMN {compiler.get_column_specification(column)}"
    if dialect.supports_comments and not dialect.inline_comments:
        yield _text(SetColumnComment(column), dialect)


def _text(element: DDLElement, dialect: Dialect) -> str:
    return str(element.compile(dialect=dialect)).strip()


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).splitlines()[0].rstrip(".")
