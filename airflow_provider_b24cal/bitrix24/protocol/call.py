"""One call of a REST method: what is sent, and how its result is read."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from airflow_provider_b24cal.bitrix24.auth.credentials import MAX_REPLY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_b24cal.bitrix24.protocol.error_codes import ErrorSpec

T = TypeVar("T")


class Call(NamedTuple, Generic[T]):
    """One call of a REST method.

    :param method: REST method, for example ``calendar.meeting.status.get``.
    :param params: its parameters, JSON values.
    :param shape: definition of the reply schemas that the ``result`` must fit.
    :param read: turns a ``result`` of that shape into the typed value, or raises its error.
    :param writes: whether the method changes anything; a write is not repeated after an ambiguous error.
    :param event_id: the event it is about, for errors.
    :param own_codes: what a code means for this method, where the table of all methods is too general.
    :param commands: of a batch, the methods of its commands by their keys.
    :param max_reply_bytes: maximum size of the reply, unpacked.
    """

    method: str
    params: Mapping[str, Any]
    shape: str
    read: Callable[[Any, Callable[[str], str]], T]
    writes: bool = False
    event_id: int | None = None
    own_codes: Mapping[str, ErrorSpec] = MappingProxyType({})
    commands: Mapping[str, str] = MappingProxyType({})
    max_reply_bytes: int = MAX_REPLY_BYTES
