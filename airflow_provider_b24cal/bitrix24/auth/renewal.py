"""Renewing an access token, written once as a generator like the exchange itself.

The caller holds the lock of the host meanwhile. Other hosts share the token store: it is read before anything is sent,
since another host may have renewed the token already, and again when the refresh token was used elsewhere.
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
    """Send back the pair in the store, or that of the connection when there is none."""


@dataclass(frozen=True, slots=True)
class CheckWritable:
    """Check that the store can be written, or throw a :class:`TokenStoreError` in."""


@dataclass(frozen=True, slots=True)
class Save:
    """Store a pair, or throw a :class:`TokenStoreError` in."""

    pair: TokenPair


TokenSteps: TypeAlias = Generator[Send | Pause | Load | CheckWritable | Save, Any, T]

_REASONS: Final = {
    ConnectError: "No connection could be made.",
    TlsError: "Its certificate is not trusted; REQUESTS_CA_BUNDLE can name further ones.",
}

WINNER_WAITS: Final = (0.0, 0.5, 1.5, 4.0)
"""Seconds before each further read of the store: another host may not have stored its pair yet."""

SAVE_WAITS: Final = (0.2, 1.0, 3.0)
"""Seconds before each further attempt to store a pair."""


class Renewal(NamedTuple):
    """The result of a renewal.

    :param pair: another one than the one refused.
    :param is_new: whether the authorisation server has just issued it. One found in the store may have expired.
    """

    pair: TokenPair
    is_new: bool


def renew(grant: Grant, stale: Secret, now: float) -> TokenSteps[Renewal]:
    """Return a pair whose access token is another one than the one refused.

    At most one request is sent. The new pair is stored before it is used.

    :param stale: the access token that the portal has refused.
    :param now: seconds since the epoch.
    :raises Bitrix24Error: the token cannot be renewed.
    """
    pair: TokenPair = yield Load()
    if pair.access != stale:
        return Renewal(pair, is_new=False)
    # A refresh token can be used once: if the next one cannot be stored, this one must not be used.
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
            _REASONS.get(type(error), error.message),
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
            failure = error
        else:
            return
        yield Pause(seconds, failure)
