"""Methods every webhook may call: who am I, what may I do, what is there."""

from __future__ import annotations

from datetime import UTC, datetime

from bitrix24_sandbox.php import PhpArray, PhpValue, is_empty, to_text
from bitrix24_sandbox.rest import Call, Method, may


def any_case(parameters: PhpArray, name: str) -> PhpValue:
    """Return a parameter of a method that does not mind the case of names; the last spelling wins."""
    found: PhpValue = None
    for key, value in parameters.items():
        if str(key).lower() == name:
            found = value
    return found


def _profile(call: Call) -> dict[str, object]:
    person = call.caller
    return {
        "ID": str(person.id),
        "ADMIN": person.admin,
        "NAME": person.name,
        "LAST_NAME": person.last_name,
        "PERSONAL_GENDER": "",
        "TIME_ZONE": person.time_zone,
    }


def _all_scopes(call: Call) -> list[str]:
    return sorted({scope for method in call.portal.methods.values() for scope in method.scopes})


def _scope(call: Call) -> list[str]:
    if not is_empty(any_case(call.parameters, "full")):
        return _all_scopes(call)
    return list(call.webhook.scopes)


def _methods(call: Call) -> list[str]:
    wanted = any_case(call.parameters, "scope")
    if wanted is not None and not isinstance(wanted, dict):
        scope = to_text(wanted)
        return [name for name, method in call.portal.methods.items() if scope in (method.scopes or ("",))]
    everything = not is_empty(any_case(call.parameters, "full"))
    return [name for name, method in call.portal.methods.items() if everything or may(call.webhook.scopes, method)]


def _method_get(call: Call) -> dict[str, bool]:
    name = call.parameters.get("name")
    method = call.portal.methods.get(name.lower()) if isinstance(name, str) else None
    return {
        "isExisting": method is not None,
        "isAvailable": method is not None and may(call.webhook.scopes, method),
    }


def _server_time(call: Call) -> str:
    return datetime.fromtimestamp(call.portal.clock(), UTC).isoformat(timespec="seconds")


_LICENSES = {"none": "company_selfhosted", "standard": "basic", "enterprise": "ent250"}


def _app_info(call: Call) -> dict[str, object]:
    """Answer ``app.info``.

    The authorisation server has a method of this name too. It shares the portal's address here, so that an
    application gets both answers in one.
    """
    settings, webhook = call.portal.settings, call.webhook
    license_name = f"{settings.language}_{_LICENSES[settings.plan]}"
    if webhook.client_id is None:
        return {"SCOPE": list(webhook.scopes), "LICENSE": license_name}
    return {
        "ID": 1,
        "CODE": webhook.client_id,
        "VERSION": 1,
        "STATUS": "L",
        "INSTALLED": True,
        "PAYMENT_EXPIRED": "N",
        "DAYS": None,
        "LANGUAGE_ID": settings.language,
        "LICENSE": license_name,
        **call.portal.auth_server.app_info(webhook.secret, call.portal.address, settings),
    }


METHODS = {
    "app.info": Method((), _app_info),
    "profile": Method((), _profile),
    "scope": Method((), _scope),
    "methods": Method((), _methods),
    "method.get": Method((), _method_get),
    "server.time": Method((), _server_time),
}
