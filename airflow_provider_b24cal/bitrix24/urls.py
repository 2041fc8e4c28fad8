"""URLs of a portal's pages, for people to open; they hold no secret."""

from __future__ import annotations


def calendar_page(
    origin: str, *, user_id: int | None, calendar_type: str = "user", owner_id: int | None = None
) -> str | None:
    """Return the URL of a calendar's page.

    :param origin: the portal, such as ``https://example.bitrix24.com``.
    :param user_id: the acting user.
    :param calendar_type: ``user``, ``group`` or ``company_calendar``.
    :param owner_id: the user or group; by default the acting user.
    :return: ``None`` if the user or group is not known.
    """
    if calendar_type == "company_calendar":
        return f"{origin}/calendar/"
    if calendar_type == "group":
        return f"{origin}/workgroups/group/{owner_id}/calendar/" if owner_id else None
    owner_id = owner_id or user_id
    return f"{origin}/company/personal/user/{owner_id}/calendar/" if owner_id else None


def event_page(origin: str, event_id: int, *, user_id: int | None) -> str | None:
    """Return the URL of a meeting's page, in the calendar of the person invited to it."""
    calendar = calendar_page(origin, user_id=user_id)
    return calendar and f"{calendar}?EVENT_ID={event_id}"
