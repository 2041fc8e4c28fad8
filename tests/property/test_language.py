"""What must hold for anything that comes in: a value, or an error of ours, within bounds, without the secret."""

from __future__ import annotations

import json
import string
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_b24cal.bitrix24.auth.credentials import Endpoint, Secret, Webhook
from airflow_provider_b24cal.bitrix24.calendar import event_methods, methods
from airflow_provider_b24cal.bitrix24.calendar.set_status import change_statuses
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from airflow_provider_b24cal.bitrix24.protocol.batch import pack
from airflow_provider_b24cal.bitrix24.protocol.call import Call
from airflow_provider_b24cal.bitrix24.protocol.error_codes import CODES
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    Bitrix24Error,
    ConnectError,
    InvalidArgumentError,
    InvalidConnectionError,
    TransportError,
    error_from_dict,
)
from airflow_provider_b24cal.bitrix24.protocol.exchange import Pause, Send, run_call, run_calls
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy, RetryState
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply, read
from airflow_provider_b24cal.bitrix24.settings import read_settings
from airflow_provider_b24cal.bitrix24.validation import check_event_id, check_wanted_status
from tests.contexts import context_for
from tests.fuzz.replies import LONGEST_TEXT, throw
from tests.portal_data import CANARY

ENDPOINT = Endpoint("https://example.bitrix24.com", Webhook("1", Secret(CANARY)))
WEEK = Window(datetime(2026, 9, 14, tzinfo=UTC), datetime(2026, 9, 21, tzinfo=UTC))
CALLS = [
    methods.get_status(651),
    methods.set_status(651, MeetingStatus.ACCEPTED),
    methods.profile(),
    methods.scope(),
    methods.raw("anything", {}, writes=True),
    event_methods.get_events("user", 1, WEEK),
    event_methods.get_event(651),
    event_methods.get_busy([1, 2], WEEK),
    pack([methods.get_status(651), methods.profile()], "c"),
]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(CANARY),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
shaped = st.one_of(
    st.fixed_dictionaries({"result": anything}),
    st.fixed_dictionaries({"error": anything | st.sampled_from(sorted(CODES)), "error_description": anything}),
    st.fixed_dictionaries({"result": st.sampled_from(["Y", "N", "Q", "H", "M", None, True])}),
    st.fixed_dictionaries(
        {
            "result": st.fixed_dictionaries(
                {
                    "result": st.lists(anything, max_size=3)
                    | st.dictionaries(st.sampled_from(["c0", "c1", "c2"]), anything),
                    "result_error": st.lists(anything, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(["c0", "c1"]),
                        anything | st.fixed_dictionaries({"error": st.sampled_from(sorted(CODES))}),
                    ),
                }
            )
        }
    ),
)
bodies = st.one_of(
    st.binary(),
    st.binary().map(lambda tail: b'{"result":' + tail),
    anything.map(lambda value: json.dumps(value).encode()),
    shaped.map(lambda value: json.dumps(value).encode()),
    shaped.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
)
statuses = st.sampled_from([200, 302, 400, 401, 403, 404, 429, 500, 502, 503, 504]) | st.integers(100, 599)
replies = st.builds(Reply, statuses, bodies, st.none() | st.text() | st.just(CANARY))


def _says_nothing(error: Bitrix24Error) -> None:
    text = f"{error} {error!r} {json.dumps(error.to_dict())}"
    assert CANARY not in text
    assert len(str(error)) <= LONGEST_TEXT
    text.encode("utf-8")


@given(st.sampled_from(CALLS), replies)
@settings(max_examples=1500)
def test_any_reply_gives_a_value_or_an_error_of_ours(call: Call[Any], reply: Reply) -> None:
    try:
        read(call, reply, ENDPOINT.scrub)
    except Bitrix24Error as error:
        _says_nothing(error)
        assert str(error_from_dict(json.loads(json.dumps(error.to_dict())))) == str(error)


def test_changed_replies_of_a_portal_give_values_or_errors_of_ours() -> None:
    """The beginning of what ``make fuzz`` does."""
    tally = throw(seed=2, numbers=iter(range(3000)))
    assert tally.failures == []
    assert len(tally.ends) > 8, "both values and errors of many kinds came out"
    assert tally.ends["value"] > 300


@given(st.lists(st.one_of(replies, st.just(ConnectError("x")), st.just(TransportError("x"))), min_size=1, max_size=40))
@settings(max_examples=300)
def test_any_exchange_ends_within_its_bounds(script: list[Reply | TransportError]) -> None:
    policy = RetryPolicy(attempts=5, total=100.0)
    context = context_for(ENDPOINT, policy)
    for steps, most in (
        (run_call(methods.get_status(1), context), 5),
        (run_calls([methods.get_status(number) for number in range(1, 60)], context), 2 * 5),
        # Five failures at the most, and a read and a write that go well between any two of them.
        (change_statuses([(1, MeetingStatus("Y")), (2, MeetingStatus("N"))], context), 2 * 5 + 2),
    ):
        sent, waited, answer = 0, 0.0, None
        try:
            step = next(steps)
            while True:
                if not isinstance(step, Send):
                    waited += step.seconds if isinstance(step, Pause) else 0.0
                    step = next(steps)
                    continue
                answer = script[sent % len(script)]
                sent += 1
                step = steps.throw(answer) if isinstance(answer, TransportError) else steps.send(answer)
        except StopIteration:
            pass
        except Bitrix24Error as error:
            _says_nothing(error)
        assert sent <= most
        assert waited <= policy.total * (2 if most == 10 else 1)


@given(
    st.builds(RetryPolicy, st.integers(1, 20), st.floats(0, 100), st.floats(0, 100), st.floats(0, 1000)),
    st.lists(st.tuples(st.none() | st.floats(0, 2000), st.floats(0, 1, exclude_max=True)), max_size=40),
)
def test_timeout_is_bounded_in_count_and_in_total(
    policy: RetryPolicy, troubles: list[tuple[float | None, float]]
) -> None:
    timeout, waited, attempts = RetryState(policy), 0.0, 1
    for retry_after, jitter in troubles:
        spent = timeout.spend(ConnectError("x", retry_after=retry_after), jitter)
        if spent is None:
            break
        seconds, timeout = spent
        assert seconds >= (retry_after or 0)
        waited, attempts = waited + seconds, attempts + 1
    assert attempts <= policy.attempts
    assert waited <= policy.total


@given(anything | st.binary() | st.text(string.digits + " +-_.eE\n٣"))
@settings(max_examples=500)
def test_an_id_is_a_positive_number_or_refused(value: Any) -> None:
    try:
        checked = check_event_id(value)
    except InvalidArgumentError:
        return
    assert not isinstance(value, float)
    assert type(checked) is int
    assert 1 <= checked < 2**63
    assert str(checked) == value or checked == value


@given(anything | st.text("YNQHynqh \n", max_size=2))
@settings(max_examples=500)
def test_a_status_is_one_of_three_letters_or_refused(value: Any) -> None:
    try:
        checked = check_wanted_status(value)
    except InvalidArgumentError:
        return
    assert checked.value == value.upper()
    assert checked.value in "YNQ"


@given(
    host=st.none() | st.text() | st.sampled_from(["x.bitrix24.com", "http://127.0.0.1", f"https://x/rest/1/{CANARY}/"]),
    login=st.none() | st.text() | st.just("1"),
    password=st.none() | st.text() | st.sampled_from([CANARY, f"https://x/rest/1/{CANARY}/", f"x://{CANARY}"]),
    port=st.none() | st.integers(0, 70_000),
    extra=st.dictionaries(st.sampled_from(["timeout", "verify", "proxy", "allow_http", "other"]), anything, max_size=3),
)
@settings(max_examples=500)
def test_any_connection_is_settings_or_refused(**fields: Any) -> None:
    # What is not secret by its key may be shown, such as the path of a CA bundle.
    shown = any(CANARY in str(value) for value in fields["extra"].values())
    try:
        found = read_settings(**fields)
    except InvalidConnectionError as error:
        if not shown:
            _says_nothing(error)
    else:
        assert found.endpoint.origin.startswith(("https://", "http://"))
        assert shown or CANARY not in repr(found) or CANARY in found.endpoint.origin
