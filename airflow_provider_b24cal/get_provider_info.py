"""Metadata of this provider for Airflow: data only.

Airflow 3.2 and later load this module while ``airflow`` itself is being imported, so nothing is imported here.
"""

CONNECTION_FIELDS = {
    "auth": {
        "label": "Authentication",
        "description": "webhook, or oauth for an application with tokens.",
        "schema": {"type": "string", "enum": ["webhook", "oauth"], "default": "webhook"},
    },
    "client_id": {
        "label": "OAuth: application id",
        "description": "Such as local.0123456789abcd.01234567.",
        "schema": {"type": ["string", "null"]},
    },
    "client_secret": {
        "label": "OAuth: application key",
        "description": "The key that the application's card shows beside its id.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "access_token": {
        "label": "OAuth: access token",
        "description": "The first pair only; later ones are in the token store.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "refresh_token": {
        "label": "OAuth: refresh token",
        "description": "A new pair here takes the place of what is in the token store.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "token_store": {
        "label": "OAuth: token store",
        "description": "variable, file:<folder>, or the dotted path of a class; variable when empty.",
        "schema": {"type": ["string", "null"]},
    },
    "auth_server": {
        "label": "OAuth: authorisation server",
        "description": "Such as oauth.bitrix.info; by the portal's zone when empty.",
        "schema": {"type": ["string", "null"]},
    },
    "timeout": {
        "label": "Timeout (seconds)",
        "description": "How long to wait for an answer, above 0 and at most 600; 70 when empty.",
        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 600},
    },
    "verify": {
        "label": "Verify TLS",
        "description": "true, false, or the path of a CA bundle; true when empty.",
        "schema": {"type": ["string", "null"]},
    },
    "proxy": {
        "label": "Proxy",
        "description": "URL of an http or https proxy; from the environment when empty.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "plan": {
        "label": "Plan",
        "description": "The portal's limits: standard (2 requests a second), enterprise (5) or self_hosted (none).",
        "schema": {"type": "string", "enum": ["standard", "enterprise", "self_hosted"], "default": "standard"},
    },
    "requests_per_second": {
        "label": "Requests per second",
        "description": "In place of the plan's number.",
        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1000},
    },
    "burst": {
        "label": "Requests at once",
        "description": "How many the portal takes before it counts the seconds, in place of the plan's number.",
        "schema": {"type": ["number", "null"], "minimum": 1},
    },
    "max_in_flight": {
        "label": "Requests in flight",
        "description": "Concurrent requests of one task, 1 to 32; chosen by the plan when empty.",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 32},
    },
    "rate_limit_conn_id": {
        "label": "Redis connection",
        "description": "Id of a connection of type redis through which hosts and pods share the rate limit.",
        "schema": {"type": ["string", "null"]},
    },
    "rate_limit_group": {
        "label": "Rate limit group",
        "description": "Another name for pods behind another address; default when empty.",
        "schema": {"type": ["string", "null"]},
    },
    "allow_http": {
        "label": "Allow plain http",
        "description": "Send the secret unencrypted to a portal that is not on this machine.",
        "schema": {"type": "boolean", "default": False},
    },
}

FIELD_LABELS = {
    "host": "Portal",
    "login": "Webhook user id",
    "password": "Webhook URL",
    # Without one the Test button of Airflow 3.3 says no more than "Bad Request".
    "port": "Port (enter 443)",
}

UI_FIELD_BEHAVIOUR = {
    # Port stays visible: the Test button of Airflow 3.3 refuses a connection whose port is hidden and empty.
    "hidden_fields": ["schema"],
    "relabeling": FIELD_LABELS,
    "placeholders": {
        "host": "empty, or example.bitrix24.com if only the code is given below",
        "login": "empty, or the number before the code in the webhook URL",
        "port": "443, or the Test button of Airflow 3.3 does not work",
        "password": "https://example.bitrix24.com/rest/1/.../, or its code alone",
    },
}

CONFIG_OPTIONS = {
    name: {"description": description, "version_added": "0.1.0", "type": "string", "example": example, "default": ""}
    for name, example, description in (
        (
            "attendance_page_conn_id",
            "warehouse",
            (
                "Id of the connection of the database with the tables of attendance. The page Attendance shows them to "
                "everybody who may read this connection. There is no page while it is empty. Airflow 3.1.1 and later."
            ),
        ),
        (
            "attendance_page_schema",
            "bitrix24",
            "Schema of the tables of attendance, for the page Attendance. Empty for the connection's default.",
        ),
    )
}

_PACKAGE = "airflow_provider_b24cal"


def _modules(*names: str) -> dict[str, object]:
    return {"integration-name": "Bitrix24", "python-modules": [f"{_PACKAGE}.{name}" for name in names]}


def get_provider_info() -> dict:  # type: ignore[type-arg]  # Airflow's own signature for this hook
    """Return the provider's description in the form that Airflow's provider manager reads."""
    return {
        "package-name": "airflow-provider-b24cal",
        "name": "Bitrix24 calendar",
        "description": "Read, set and await participation in `Bitrix24 <https://www.bitrix24.com/>`__ meetings.",
        "integrations": [
            {
                "integration-name": "Bitrix24",
                "external-doc-url": "https://apidocs.bitrix24.com/api-reference/calendar/index.html",
                "tags": ["service"],
            }
        ],
        "hooks": [_modules("hooks.bitrix24")],
        "operators": [_modules("operators.events", "operators.meeting_status", "operators.notify")],
        "transfers": [
            {
                "source-integration-name": "Bitrix24",
                "target-integration-name": target,
                "python-module": f"{_PACKAGE}.transfers.{module}",
            }
            for target, module in (
                ("SQL", "attendance_to_sql"),
                ("Object storage", "attendance_to_object_storage"),
            )
        ],
        "asset-uris": [
            {
                "schemes": ["b24cal"],
                "handler": f"{_PACKAGE}.assets.sanitize_uri",
                "to_openlineage_converter": f"{_PACKAGE}.assets.convert_asset_to_openlineage",
            }
        ],
        "sensors": [_modules("sensors.attendees", "sensors.meeting_status")],
        "triggers": [_modules("triggers.attendance", "triggers.attendance_changes")],
        "notifications": [f"{_PACKAGE}.notifications.bitrix24.Bitrix24Notifier"],
        "extra-links": [f"{_PACKAGE}.links.bitrix24.Bitrix24Link", f"{_PACKAGE}.links.attendance.AttendanceLink"],
        "task-decorators": [
            {"name": "bitrix24_statuses", "class-name": f"{_PACKAGE}.decorators.statuses.bitrix24_statuses_task"}
        ],
        "config": {"bitrix24": {"description": "The page Attendance in the web UI.", "options": CONFIG_OPTIONS}},
        "connection-types": [
            {
                "connection-type": "bitrix24",
                "hook-class-name": f"{_PACKAGE}.hooks.bitrix24.Bitrix24CalendarHook",
                "hook-name": "Bitrix24",
                "ui-field-behaviour": {key.replace("_", "-"): value for key, value in UI_FIELD_BEHAVIOUR.items()},
                "conn-fields": CONNECTION_FIELDS,
            }
        ],
    }
