"""State that the processes of a cluster share through a Redis server.

The server may be away, slow or misconfigured. Nothing fails for it: the callers go on with the files of their host.
"""

from __future__ import annotations

import hashlib
import logging
from math import inf, isnan, nan
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow_provider_b24cal import clock
from airflow_provider_b24cal.bitrix24.protocol.limits import (
    HEADROOM,
    LONGEST_INTERVAL,
    MOST_AHEAD,
    OPERATING_WINDOW,
    SHARE_GROWTH,
    SHARE_LEFT,
    SHARE_MARGIN,
    SHARE_MEMORY,
    OperatingTime,
)
from airflow_provider_b24cal.bitrix24.validation import invalid_field

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_b24cal.bitrix24.protocol.limits import Plan

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)

TIMEOUT: Final = 0.5
"""Seconds to wait for a connection to the server, and again for a reply."""
RETRY_INTERVAL: Final = 10.0
"""Seconds without an attempt after a failure: not every request shall wait for a time-out."""

_KEPT: Final = 60.0
"""Seconds for which a key outlives its use, so that a clock that is put back is noticed."""

_BUCKET: Final = """
local rate, burst, longest, jitter = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local headroom, most_ahead, longest_interval = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local margin, left, growth = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local memory, kept = tonumber(ARGV[11]), tonumber(ARGV[12])
local fields = {'empty_at', 'noted_at', 'share', 'refused_at'}
local stored = redis.call('HMGET', KEYS[1], unpack(fields))
for i = 1, 4 do stored[i] = tonumber(stored[i]) or 0 end
local time = redis.call('TIME')
local now, gap, full = time[1] + time[2] / 1000000, 1 / rate, burst / rate
local free = (burst - headroom) / rate
local share, refused_at, wait, begin = stored[3], stored[4], 0, 0
local smallest = math.min(left, 1 / (rate * longest_interval))
local is_shared = smallest <= share and share < 1 and refused_at <= now and now < refused_at + memory
local ahead = math.max(0, stored[1] - math.max(now, stored[2]))
if not (ahead <= full + most_ahead) then ahead = full end
if longest and not is_shared then
  wait, begin, share, refused_at = math.max(0, ahead + gap - free), ahead + gap, 1, 0
elseif longest then
  local interval = gap / share
  wait, begin, share = ahead + jitter * (interval - gap), ahead + interval, share * growth
  if share >= 1 then begin, share, refused_at = begin - gap + free, 1, 0 end
else
  if not is_shared then
    local level = math.max(0, stored[1] - stored[2])
    if not (level <= full + most_ahead) then level = full end
    share = (math.min(burst, math.max(1, math.ceil(level * rate - 0.01))) - margin) / burst
    ahead, refused_at = ahead + gap - free, now
  elseif now >= refused_at + gap / share then
    share, refused_at = left * share, now
  end
  begin, share = math.max(ahead, gap * (1 + headroom)), math.max(share, smallest)
end
if not longest or wait <= longest then
  local after = {now + begin, now, share, refused_at}
  for i = 1, 4 do redis.call('HSET', KEYS[1], fields[i], string.format('%.17g', after[i])) end
  redis.call('PEXPIRE', KEYS[1], math.ceil((math.max(begin, refused_at + memory - now) + kept) * 1000))
end
return string.format('%.17g', wait)
"""
"""The arithmetic of :class:`~airflow_provider_b24cal.bitrix24.protocol.limits.Bucket`, on the server's clock.

``longest`` is no number for a refusal.
"""


class RedisState:
    """State on the server of one Airflow connection; safe for threads.

    All methods block. While the server does not answer they return ``None``.

    :param conn_id: a connection of type ``redis``.
    :ivar failure: why the server is not used now, as it was logged; empty while it answers.
    """

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._client: Any = None
        self._retry_at = -inf
        self.failure = ""

    def connect(self) -> None:
        """Read the connection and reach the server; again after a failure, since the connection may have been changed.

        :raises InvalidConnectionError: Airflow's Redis provider is not installed.
        """
        try:
            from airflow.providers.redis.hooks.redis import RedisHook
        except ImportError:
            raise invalid_field(
                "rate_limit_conn_id",
                "nothing, since Airflow's Redis provider is not installed",
                "Install airflow-provider-b24cal[redis].",
            ) from None
        if self._client is None or self.failure:
            self._attempt(lambda: self._open(RedisHook(self._conn_id)))

    def _open(self, hook: Any) -> None:
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as Disconnected
        from redis.retry import Retry

        if hook.get_connection(self._conn_id).extra_dejson.get("cluster"):
            raise ValueError("the hook reaches for a cluster without a time limit")
        client = hook.get_conn()
        # The hook sets no time-outs. One repetition, since a connection in the pool may have been closed meanwhile.
        client.connection_pool.connection_kwargs.update(
            socket_connect_timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 1, (Disconnected,)),
            retry_on_error=[Disconnected],
        )
        # Kept even if the server is away now, so that it is tried again.
        self._client = client
        client.ping()

    def reserve(self, origin: str, group: str, plan: Plan, longest: float = inf, jitter: float = 0.0) -> float | None:
        """Reserve a place in the bucket of a portal and group; see :meth:`Bucket.reserve`.

        :param longest: if the wait is longer, nothing is reserved.
        """
        # Lua reads no infinity, and no wait is as long as this.
        answer = self._change(origin, group, plan, str(min(longest, 1e9)), jitter)
        return None if answer is None else float(answer)

    def refused(self, origin: str, group: str, plan: Plan) -> bool:
        """Set that bucket to full; return whether the server has done it."""
        return self._change(origin, group, plan, "refused") is not None

    def _change(self, origin: str, group: str, plan: Plan, longest: str, jitter: float = 0.0) -> bytes | None:
        bounds = (HEADROOM, MOST_AHEAD, LONGEST_INTERVAL, SHARE_MARGIN, SHARE_LEFT, SHARE_GROWTH, SHARE_MEMORY, _KEPT)
        values = (plan.rate, plan.burst, longest, jitter, *bounds)
        return self._use(lambda client: client.eval(_BUCKET, 1, _key("bucket", origin, group), *values))

    def save_operating(self, name: str, operating: OperatingTime) -> None:
        """Keep an operating time for as long as it counts; the name may hold secrets."""
        resets_in = nan if operating.resets_at is None else operating.resets_at - operating.reported_at
        left = int(1000 * (operating.reported_at + OPERATING_WINDOW - clock.time()))
        if left > 0:
            text = f"{operating.used} {resets_in}"
            self._use(lambda client: client.set(_key("operating", name), text, px=left))

    def load_operating(self, name: str) -> OperatingTime | None:
        """Return an operating time that was saved, on this machine's clock.

        The clocks of hosts differ, so its age is what the server has used up of the time for which it keeps it.
        """
        key = _key("operating", name)
        return self._use(lambda client: _read_operating(*client.pipeline().get(key).pttl(key).execute()))

    def _use(self, call: Callable[[Any], T]) -> T | None:
        # There is no client if the connection itself is wrong.
        return None if (client := self._client) is None else self._attempt(lambda: call(client))

    def _attempt(self, call: Callable[[], T]) -> T | None:
        if monotonic() < self._retry_at:
            return None
        try:
            result = call()
        except Exception as problem:  # noqa: BLE001 - whatever is wrong with the server or its connection
            self._retry_at = monotonic() + RETRY_INTERVAL
            if not self.failure:
                self.failure = (
                    f"The rate limit is not shared through the Redis connection {self._conn_id!a} "
                    f"({type(problem).__name__}). This host limits its own requests, and tries Redis again every "
                    f"{RETRY_INTERVAL:g} s."
                )
                _log.warning("%s", self.failure)
            return None
        self.failure = ""
        return result


def _read_operating(stored: bytes | None, left: int) -> OperatingTime | None:
    if stored is None or left < 0:
        return None
    used, resets_in = map(float, stored.split())
    reported_at = clock.time() + left / 1000 - OPERATING_WINDOW
    return OperatingTime(reported_at, used, None if isnan(resets_in) else reported_at + resets_in)


def _key(*names: str) -> str:
    """Return the key of what these names identify; they cannot be read from it."""
    return f"b24cal:{hashlib.sha256(' '.join(names).encode()).hexdigest()[:32]}"


_STATES: Final[dict[str, RedisState]] = {}


def redis_state(conn_id: str) -> RedisState:
    """Return the state of a connection, which all hooks of a process share; blocking.

    :raises InvalidConnectionError: Airflow's Redis provider is not installed.
    """
    state = _STATES.setdefault(conn_id, RedisState(conn_id))
    state.connect()
    return state
