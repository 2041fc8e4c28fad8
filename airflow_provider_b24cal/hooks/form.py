"""The connection form's own fields, for the web UI of Airflow before 3.2.

They are made from the same data that later versions read from the provider info.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_b24cal.get_provider_info import CONNECTION_FIELDS


def widgets() -> dict[str, Any]:
    """Return a form field per key of the connection's extra.

    :raises ImportError: the web UI's form libraries are not installed; Airflow then shows no such fields.
    """
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
    from flask_babel import lazy_gettext
    from wtforms import BooleanField, PasswordField, StringField

    def make(field: dict[str, Any]) -> Any:
        label, description = lazy_gettext(field["label"]), field["description"]
        if field["schema"]["type"] == "boolean":
            return BooleanField(label, description=description, default=field["schema"]["default"])
        if field["schema"].get("format") == "password":
            return PasswordField(label, description=description, widget=BS3PasswordFieldWidget())
        return StringField(label, description=description, widget=BS3TextFieldWidget())

    return {name: make(field) for name, field in CONNECTION_FIELDS.items()}
