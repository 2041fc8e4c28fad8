"""An exchange's context for tests that run the steps themselves."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_b24cal.bitrix24.auth.credentials import Endpoint
from airflow_provider_b24cal.bitrix24.protocol.exchange import ExchangeContext
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.client.operating import OperatingTimes


@dataclass
class FixedEndpoint:
    """An endpoint whose token is never renewed."""

    endpoint: Endpoint

    def moved(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint


def context_for(endpoint: Endpoint, policy: RetryPolicy | None = None) -> ExchangeContext:
    """Return a context of an endpoint; delays have half of their jitter."""
    return ExchangeContext(FixedEndpoint(endpoint), policy or RetryPolicy(), lambda: 0.5, OperatingTimes())
