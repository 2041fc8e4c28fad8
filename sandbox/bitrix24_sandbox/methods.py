"""Every REST method of the portal by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitrix24_sandbox import (
    accessibility,
    basic_methods,
    batch,
    calendar_methods,
    inbox,
    list_methods,
    people_methods,
    section_methods,
    write_methods,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitrix24_sandbox.rest import BatchMethod, Method

METHODS: Mapping[str, Method | BatchMethod] = {
    **batch.METHODS,
    **basic_methods.METHODS,
    **calendar_methods.METHODS,
    **people_methods.METHODS,
    **list_methods.METHODS,
    **accessibility.METHODS,
    **section_methods.METHODS,
    **write_methods.METHODS,
    **inbox.METHODS,
}
