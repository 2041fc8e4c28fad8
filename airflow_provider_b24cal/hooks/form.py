"""The connection form's own fields, for the web UI of Airflow before 3.2.

They are made from the same data that later versions read from the provider info.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_b24cal.bitrix24.settings import FORM_STAND_IN
from airflow_provider_b24cal.get_provider_info import CONNECTION_FIELDS


def widgets() -> dict[str, Any]:
    """Return a form field per key of the connection's extra.

    :raises ImportError: the web UI's form libraries are not installed; Airflow then shows no such fields.
    """
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from flask_babel import lazy_gettext
    from wtforms import BooleanField, PasswordField, StringField

    def make(field: dict[str, Any]) -> Any:
        label, description = lazy_gettext(field["label"]), field["description"]
        # Airflow 3.0 and 3.1 put classes of their own in place of these, which know no other arguments.
        if field["schema"]["type"] == "boolean":
            return BooleanField(label, description=description, default=field["schema"]["default"], widget=_box)
        if field["schema"].get("format") == "password":
            return PasswordField(label, description=description, widget=_secret)
        return StringField(label, description=description, widget=BS3TextFieldWidget())

    return {name: make(field) for name, field in CONNECTION_FIELDS.items()}


def _box(field: Any, **options: Any) -> Any:
    """Draw a box that sends ``true`` when ticked, as JSON has it; by itself it sends ``y``."""
    from wtforms.widgets import CheckboxInput

    return CheckboxInput()(field, **{**options, "value": "true"})


def _secret(field: Any, **options: Any) -> Any:
    """Draw a field for a secret, with a stand-in for one that is stored.

    Were it empty, Airflow 2 would remove the stored secret as soon as anything of the connection is changed.
    """
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget

    stored = field.data and not field.raw_data  # and not just typed in, beside something that was not accepted
    return BS3PasswordFieldWidget(hide_value=False)(field, **{**options, "value": FORM_STAND_IN if stored else ""})
