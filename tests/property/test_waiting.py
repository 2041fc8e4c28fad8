"""What must hold for any quorum and for any answers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    ConnectError,
    CredentialsError,
    InvalidArgumentError,
    NotInvitedError,
    UnexpectedReplyError,
)
from airflow_provider_b24cal.waiting.evaluate import Rule, State, evaluate
from airflow_provider_b24cal.waiting.quorum import Quorum, check_quorum

shares = st.fractions(0, 100, max_denominator=10**6).filter(bool).map(lambda share: f"{float(share):.9f}%")
quorums = (st.sampled_from(["all", "any"]) | st.integers(1, 12).map(str) | shares).filter(
    lambda text: text != "0.000000000%"
)
answers = st.dictionaries(
    st.integers(1, 99),
    st.sampled_from([*(Outcome(MeetingStatus(letter)) for letter in "YNQHM"),
                     Outcome(error=ConnectError("passing")), Outcome(error=NotInvitedError("lost")),
                     Outcome(error=CredentialsError("fatal")), Outcome(error=UnexpectedReplyError("fatal"))]),
    min_size=1, max_size=12,
)  # fmt: skip
rules = st.builds(
    Rule,
    st.sampled_from([MeetingStatus.ACCEPTED, MeetingStatus.DECLINED]),
    st.frozensets(st.just(MeetingStatus.NOT_ANSWERED)),
    quorums.map(check_quorum),
)


@given(shares, st.integers(1, 10**6))
def test_a_share_is_the_least_number_that_reaches_it(text: str, total: int) -> None:
    assume(Fraction(text[:-1]) > 0)
    needed = check_quorum(text).needed(total)
    share = Fraction(text[:-1]) / 100
    assert 1 <= needed <= total
    assert Fraction(needed, total) >= share > Fraction(needed - 1, total)


@given(quorums, st.integers(1, 10**6))
def test_more_to_wait_for_never_needs_fewer(text: str, total: int) -> None:
    quorum = check_quorum(text)
    assert quorum.needed(total) <= quorum.needed(total + 1)


@given(quorums)
def test_a_quorum_survives_the_way_to_the_triggerer(text: str) -> None:
    quorum = check_quorum(f" {text.upper()} ")
    assert check_quorum(quorum.text) == quorum


@given(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary() | st.lists(st.integers())
    | st.text("0123456789.% -+eAaLlNnYy", max_size=8)
)  # fmt: skip
def test_a_quorum_is_one_or_refused(value: Any) -> None:
    try:
        quorum = check_quorum(value)
    except InvalidArgumentError as error:
        assert str(error).startswith("Invalid require ")
        return
    assert isinstance(quorum, Quorum)
    assert (quorum.count is None) != (quorum.share is None)
    assert quorum.needed(7) >= 1


@given(answers, rules)
def test_a_wait_goes_on_exactly_as_long_as_it_can_arrive(
    outcomes: dict[int, Outcome[MeetingStatus]], rule: Rule
) -> None:
    verdict = evaluate(outcomes, rule)
    arrived = [key for key, outcome in outcomes.items() if outcome.value == rule.target]
    assert verdict.needed == rule.quorum.needed(len(outcomes))
    assert (verdict.state is State.ARRIVED) == (len(arrived) >= verdict.needed)
    assert (verdict.state is State.UNREACHABLE) == (verdict.error is not None)
    lost = [key for key, outcome in outcomes.items() if _is_lost(outcome, rule)]
    fatal = [
        outcome.error
        for outcome in outcomes.values()
        if isinstance(outcome.error, CredentialsError | UnexpectedReplyError)
    ]
    best = {key: outcome if key in lost else Outcome(rule.target) for key, outcome in outcomes.items()}
    can_arrive = evaluate(best, rule).state is State.ARRIVED
    if verdict.state is State.WAITING:
        assert can_arrive
    if verdict.state is State.UNREACHABLE:
        assert fatal or not can_arrive


def _is_lost(outcome: Outcome[MeetingStatus], rule: Rule) -> bool:
    if outcome.error is not None:
        return not isinstance(outcome.error, ConnectError)
    return outcome.value is MeetingStatus.ORGANISER or outcome.value in rule.fail_on
