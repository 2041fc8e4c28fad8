"""Renewing an access token, written once as a generator like the exchange itself.

Whoever drives it holds the lock of the host meanwhile. Other hosts are met in the store: it is read before
anything is sent, for somebody may have been quicker, and again when the authorisation server says that the
refresh token is used up.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from airflow_provider_b24cal.bitrix24.auth.tokens import Grant, TokenPair, unreachable
from airflow_provider_b24cal.bitrix24.protocol.error_codes import INVALID_GRANT
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    ConnectError,
    CredentialsError,
    Permanence,
    TlsError,
    TokenStoreError,
    TransportError,
)
from airflow_provider_b24cal.bitrix24.protocol.exchange import Pause, Send

if TYPE_CHECKING:
    from airflow_provider_b24cal.bitrix24.auth.credentials import Secret

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Load:
    """Come back with the pair that the store holds, or with that of the connection when it holds none."""


@dataclass(frozen=True, slots=True)
class CheckWritable:
    """Come back when the store is known to take what is written; or throw a :class:`TokenStoreError` in."""


@dataclass(frozen=True, slots=True)
class Save:
    """Store a pair, and come back when it is safe; or throw a :class:`TokenStoreError` in."""

    pair: TokenPair


TokenSteps: TypeAlias = Generator[Send | Pause | Load | CheckWritable | Save, Any, T]

_ON_THE_WAY: Final = {
    ConnectError: "No connection could be made.",
    TlsError: "Its certificate is not trusted; REQUESTS_CA_BUNDLE can name further ones.",
}

WINNER_WAITS: Final = (0.0, 0.5, 1.5, 4.0)
"""Seconds before each further look into the store, for whoever was quicker may not have stored the pair yet."""

SAVE_WAITS: Final = (0.2, 1.0, 3.0)
"""Seconds before each further attempt to store a pair."""


class Renewal(NamedTuple):
    """What a renewal has come to.

    :param pair: another one than the one refused.
    :param is_new: whether the authorisation server has just given it. One that was found in the store may have run out.
    """

    pair: TokenPair
    is_new: bool


def renew(grant: Grant, stale: Secret, now: float) -> TokenSteps[Renewal]:
    """Return a pair whose access token is another one than the one refused.

    One request at most is sent. What comes of it is stored before anybody uses it.

    :param stale: the access token that the portal has refused.
    :param now: seconds since the epoch.
    :raises Bitrix24Error: there is none to be had.
    """
    pair: TokenPair = yield Load()
    if pair.access != stale:
        return Renewal(pair, is_new=False)
    # The refresh token serves once: where the next one cannot be kept, this one must not be spent.
    yield CheckWritable()
    try:
        fresh = yield from _refresh(grant, pair, now)
    except CredentialsError as error:
        if error.code is None or error.code.lower() != INVALID_GRANT:
            raise
        for seconds in WINNER_WAITS:
            if seconds:
                yield Pause(seconds, error)
            stored: TokenPair = yield Load()
            if stored.access != pair.access:
                return Renewal(stored, is_new=False)
        raise
    yield from _save(fresh)
    return Renewal(fresh, is_new=True)


def _refresh(grant: Grant, pair: TokenPair, now: float) -> TokenSteps[TokenPair]:
    try:
        reply = yield Send(grant.application.refresh(pair))
    except TransportError as error:
        failure = unreachable(
            _ON_THE_WAY.get(type(error), error.message),
            grant.application.server_of(pair),
            Permanence.PERMANENT if isinstance(error, TlsError) else Permanence.TRANSIENT,
            cause=error.cause,
        )
    else:
        return grant.application.read(reply, pair.refresh, now, pair)
    raise failure


def _save(pair: TokenPair) -> TokenSteps[None]:
    for seconds in (*SAVE_WAITS, None):
        try:
            yield Save(pair)
        except TokenStoreError as error:
            if seconds is None:
                raise
            trouble = error
        else:
            return
        yield Pause(seconds, trouble)
