"""Links of meetings to items of the portal's CRM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.attendance.models import CrmLink

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_provider_b24cal.attendance.models import Snapshot

_TYPES: Final = {"D": "deal", "L": "lead", "C": "contact", "CO": "company"}


def link_rows(stored: Collection[CrmLink], snapshot: Snapshot) -> list[CrmLink]:
    """Return the rows of the links that a snapshot shows, and of those that it shows to be gone.

    A series has its links once. Only the organiser's row of a meeting has all of them for certain.

    :param stored: links of the snapshot's meetings.
    """
    shown: dict[int, dict[tuple[str, int], CrmLink]] = {}
    certain = set[int]()
    for event in (*(event for _, event in snapshot.seen), *snapshot.by_id):
        for link in event.crm_links or ():
            crm_type, _, crm_id = link.rpartition("_")
            key = _TYPES.get(crm_type, crm_type), int(crm_id)
            row = CrmLink(event.parent_id, *key, snapshot.read_at, snapshot.read_at)
            shown.setdefault(event.parent_id, {})[key] = row
        if event.crm_links is not None and event.id == event.parent_id:
            certain.add(event.parent_id)
    gone: list[CrmLink] = []
    for before in stored:
        links, key = shown.get(before.parent_id, {}), (before.crm_type, before.crm_id)
        if key in links:
            links[key] = links[key]._replace(first_seen=before.first_seen)
        elif before.parent_id in certain and before.vanished_at is None:
            gone.append(before._replace(vanished_at=snapshot.read_at))
    return [*(row for links in shown.values() for row in links.values()), *gone]
