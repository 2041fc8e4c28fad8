"""Assets of attendance: a calendar of a portal as a source, and the tables as what is made of it.

``b24cal://example.bitrix24.com/user/7`` is a calendar. ``b24cal://tables/warehouse/bitrix24_attendance`` is a table
behind the connection ``warehouse``; a schema, where one is named, stands before the table. The same table has a URI by
the rules of Airflow's provider for its database too, which is known when the task runs: an alias stands for it before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from airflow_provider_b24cal._airflow import Asset, AssetAlias

if TYPE_CHECKING:
    from urllib.parse import SplitResult

SCHEME: Final = "b24cal"


def calendar_uri(portal: str, calendar: str) -> str:
    """Return the address of a calendar.

    :param portal: its host, such as ``example.bitrix24.com``.
    :param calendar: such as ``user:7`` or ``company_calendar``.
    """
    return f"{SCHEME}://{portal}/{calendar.replace(':', '/')}"


def table_asset(sql_conn_id: str, table: str = "bitrix24_attendance", schema: str | None = None) -> Asset:
    """Return the asset of a table that :class:`Bitrix24AttendanceToSqlOperator` keeps, to schedule DAGs on it.

    :param sql_conn_id: the connection of the database.
    :param table: the table's name.
    :param schema: the schema that the operator is given, if any.
    """
    path = "/".join(quote(part, safe="") for part in (sql_conn_id, schema, table) if part)
    return Asset(uri=f"{SCHEME}://tables/{path}")


def database_alias(sql_conn_id: str) -> AssetAlias:
    """Return the alias that stands for the tables in a database, until a run knows their URIs.

    :param sql_conn_id: the connection of the database.
    """
    return AssetAlias(f"{SCHEME}://databases/{quote(sql_conn_id, safe='')}")


def database_uri(
    dialect: str, host: str | None, port: int | None, database: str | None, schema: str | None, table: str
) -> str | None:
    """Return the URI of a table by the rules of Airflow's provider for its database; ``None`` where there is none.

    :param dialect: SQLAlchemy's name of the database's kind. SQLite has no such URI.
    :param host: as the connection names it; ``None`` for a socket, which has no such URI.
    :param schema: the schema; a database in MySQL.
    """
    standard = _DATABASES.get(dialect)
    if standard is None or not host or not schema:
        return None
    scheme, usual_port, has_schemas = standard
    path = "/".join(quote(part or "", safe="") for part in (*([database] if has_schemas else []), schema, table))
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port or usual_port}/{path}"


_DATABASES: Final = {
    "postgresql": ("postgres", 5432, True), "mysql": ("mysql", 3306, False), "mariadb": ("mysql", 3306, False),
}  # fmt: skip
"""By dialect: scheme, port, and whether a table has a schema beside its database."""


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check the address of an asset of this scheme.

    :raises ValueError: it names no portal, or carries what could be a secret.
    """
    if not uri.netloc or "@" in uri.netloc:
        raise ValueError(f"URI format {SCHEME}:// must contain a portal's host and no user.")
    if uri.query or uri.fragment:
        raise ValueError(f"URI format {SCHEME}:// must not contain a query or a fragment.")
    return uri


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Any:  # noqa: ARG001 - Airflow's signature
    """Return an asset as OpenLineage's data set: the portal is its namespace, the calendar its name."""
    from urllib.parse import urlsplit

    from airflow.providers.common.compat.openlineage.facet import Dataset

    parts = urlsplit(asset.uri)
    return Dataset(namespace=f"{parts.scheme}://{parts.netloc}", name=parts.path.lstrip("/"))
