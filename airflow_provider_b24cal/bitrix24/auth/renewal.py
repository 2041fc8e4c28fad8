"""Renewing an access token: a generator, like the exchange itself.

Its caller holds the lock of the host. Other hosts are noticed in the token store: it is read before a request is sent,
because another host may have renewed already, and again when the authorisation server reports that the refresh token
is used.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

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
from airflow_provider_b24cal.bitrix24.protocol.exchange import Blocking, Pause, Send

if TYPE_CHECKING:
    from airflow_provider_b24cal.bitrix24.auth.credentials import Secret
    from airflow_provider_b24cal.bitrix24.protocol.exchange import Steps


class PairStore(Protocol):
    """Stores the token pairs of one grant; its methods block and raise :class:`TokenStoreError`."""

    def load(self) -> TokenPair:
        """Return the stored pair, or that of the connection if none is stored."""

    def check_writable(self) -> None:
        """Check that a pair can be stored."""

    def save(self, pair: TokenPair) -> None:
        """Store a pair."""


_UNREACHED: Final = {
    ConnectError: "No connection could be made.",
    TlsError: "Its certificate is not trusted; REQUESTS_CA_BUNDLE can name further ones.",
}

WINNER_WAITS: Final = (0.0, 0.5, 1.5, 4.0)
"""Seconds before each further read of the store: the host that renewed may not have stored the pair yet."""

SAVE_WAITS: Final = (0.2, 1.0, 3.0)
"""Seconds before each further attempt to store a pair."""


class Renewal(NamedTuple):
    """The result of a renewal.

    :param pair: a pair with another access token than the refused one.
    :param is_new: whether the authorisation server has just issued it. A pair from the store may be expired.
    """

    pair: TokenPair
    is_new: bool


def renew(grant: Grant, stale: Secret, now: float, store: PairStore) -> Steps[Renewal]:
    """Return a pair with another access token than the refused one.

    At most one request is sent. A new pair is stored before it is used.

    :param stale: the access token that the portal has refused.
    :param now: seconds since the epoch.
    :raises Bitrix24Error: there is no such pair.
    """
    pair: TokenPair = yield Blocking(store.load)
    if pair.access != stale:
        return Renewal(pair, is_new=False)
    # A refresh token can be used once: if the next one cannot be stored, this one must not be used.
    yield Blocking(store.check_writable)
    try:
        fresh = yield from _refresh(grant, pair, now)
    except CredentialsError as error:
        if error.code is None or error.code.lower() != INVALID_GRANT:
            raise
        for seconds in WINNER_WAITS:
            if seconds:
                yield Pause(seconds, error)
            stored: TokenPair = yield Blocking(store.load)
            if stored.access != pair.access:
                return Renewal(stored, is_new=False)
        raise
    yield from _save(fresh, store)
    return Renewal(fresh, is_new=True)


def _refresh(grant: Grant, pair: TokenPair, now: float) -> Steps[TokenPair]:
    try:
        reply = yield Send(grant.application.refresh(pair))
    except TransportError as error:
        failure = unreachable(
            _UNREACHED.get(type(error), error.message),
            grant.application.server_of(pair),
            Permanence.PERMANENT if isinstance(error, TlsError) else Permanence.TRANSIENT,
            cause=error.cause,
        )
    else:
        return grant.application.read(reply, pair.refresh, now, pair)
    raise failure


def _save(pair: TokenPair, store: PairStore) -> Steps[None]:
    for seconds in (*SAVE_WAITS, None):
        try:
            yield Blocking(partial(store.save, pair))
        except TokenStoreError as error:
            if seconds is None:
                raise
            failure = error
        else:
            return
        yield Pause(seconds, failure)
