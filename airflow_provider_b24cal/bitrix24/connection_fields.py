"""Fields of the connection in messages: their names as the form and JSON have them, and one sentence for all errors."""

from __future__ import annotations

from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidConnectionError
from airflow_provider_b24cal.get_provider_info import CONNECTION_FIELDS, FIELD_LABELS


def field_name(field: str) -> str:
    """Return the name of a connection's field in a message: its label in the form, and in brackets its key in JSON.

    :param field: ``host``, ``login``, ``password``, ``port`` or a key of ``extra``; anything else, such as an option
        of a command, is returned as it is.
    """
    if field in CONNECTION_FIELDS:
        return f"{_without_note(str(CONNECTION_FIELDS[field]['label']))} (extra key {field})"
    return f"{_without_note(FIELD_LABELS[field])} ({field})" if field in FIELD_LABELS else field


def _without_note(label: str) -> str:
    return label.partition(" (")[0]


def invalid_field(field: str, expected: str, advice: str = "", *, value: object = None) -> InvalidConnectionError:
    """Return the error for a field of the connection, or for an option of a command.

    :param advice: what to do, as whole sentences.
    :param value: shown unless ``None``, so it must not be secret.
    """
    kind = "" if field.startswith("-") else "connection field "
    shown = "" if value is None else f" {ascii(value)[:200]}"
    return InvalidConnectionError(f"Invalid {kind}{field_name(field)}{shown}: expected {expected}. {advice}".strip())
