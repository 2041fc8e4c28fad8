"""A retry policy for Airflow: which errors it retries, and when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from airflow_provider_b24cal._airflow import HAS_RETRY_POLICIES, RetryDecision, RetryPolicy
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, Permanence

_LONGEST: Final = 30 * 24 * 3600


class Bitrix24RetryPolicy(RetryPolicy):
    """
    Retry transient errors, at the right time; for Airflow 3.3 and later.

    A permanent error fails the task at once, even if it has ``retries`` left. An error for which the portal
    has named a time is retried then. Other errors of this provider back off: ``first_delay``, doubled
    after every try. All other errors follow the task's own ``retry_delay``.

    Give it to a task as ``retry_policy``, with ``retries``: see :doc:`operators`. On older versions use
    ``retry_permanent_errors=False`` of operators, sensors and transfers.

    :param first_delay: seconds before the second try; default 30.
    :param longest_delay: seconds between two tries at most, unless the portal names a later time; default 1800.
    :raises InvalidArgumentError: a delay is not a number of seconds from 1 to 2,592,000 (30 days).
    :raises RuntimeError: this Airflow is older than 3.3.
    """

    def __init__(self, first_delay: float = 30.0, longest_delay: float = 1800.0) -> None:
        if not HAS_RETRY_POLICIES:
            raise RuntimeError(
                "Retry policies came with Airflow 3.3; on this version use retry_permanent_errors=False "
                "of operators, sensors and transfers."
            )
        # The checks load jsonschema, which parsing a DAG file should not.
        from airflow_provider_b24cal.bitrix24.validation import check_number

        self.first_delay = check_number(first_delay, "first_delay", 1, _LONGEST)
        self.longest_delay = check_number(longest_delay, "longest_delay", 1, _LONGEST)

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Decide about one error; called by Airflow in the worker."""
        if not isinstance(exception, Bitrix24Error):
            return RetryDecision.default()
        name = type(exception).__name__
        if exception.permanence is Permanence.PERMANENT:
            return RetryDecision.fail(f"{name} is permanent: a retry cannot resolve it")
        if exception.retry_after is not None:
            return RetryDecision.retry(
                timedelta(seconds=exception.retry_after), f"{name}: retrying at the time that the portal has named"
            )
        # The exponent is bounded: a larger power is no float.
        delay = min(self.longest_delay, self.first_delay * 2.0 ** min(max(try_number, 1) - 1, 64))
        return RetryDecision.retry(timedelta(seconds=delay), f"{name}: backing off after try {try_number}")

    def serialize(self) -> dict[str, Any]:
        """Return the policy as JSON values."""
        return {"first_delay": self.first_delay, "longest_delay": self.longest_delay}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Bitrix24RetryPolicy:
        """Turn :meth:`serialize` back into a policy."""
        return cls(**data)
