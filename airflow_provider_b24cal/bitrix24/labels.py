"""What the connection form calls each field of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Airflow reads the form from get_provider_info.py, which imports nothing; a test holds the two against each other.
FIELD_LABELS: Final[Mapping[str, str]] = {
    "host": "Portal",
    "login": "Webhook user id",
    "password": "Webhook URL",
    "port": "Port (enter 443)",
}
EXTRA_LABELS: Final[Mapping[str, str]] = {
    "auth": "Authentication",
    "client_id": "OAuth: application id",
    "client_secret": "OAuth: application key",
    "access_token": "OAuth: access token",
    "refresh_token": "OAuth: refresh token",
    "token_store": "OAuth: token store",
    "auth_server": "OAuth: authorisation server",
    "timeout": "Timeout (seconds)",
    "verify": "Verify TLS",
    "proxy": "Proxy",
    "plan": "Plan",
    "requests_per_second": "Requests per second",
    "burst": "Requests at once",
    "max_in_flight": "Requests under way",
    "allow_http": "Allow plain http",
}


def field_name(field: str) -> str:
    """Return the name of a connection's field in a message: its label, and in brackets where JSON has it.

    :param field: ``host``, ``login``, ``password``, ``port`` or a key of ``extra``; anything else, such as the option
        of a command, is returned as it is.
    """
    if field in EXTRA_LABELS:
        return f"{_without_note(EXTRA_LABELS[field])} (extra key {field})"
    return f"{_without_note(FIELD_LABELS[field])} ({field})" if field in FIELD_LABELS else field


def _without_note(label: str) -> str:
    return label.partition(" (")[0]
