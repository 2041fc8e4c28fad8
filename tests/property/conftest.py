"""Property tests take as long as they take, and the same examples every time: whoever changes something else is not
stopped by a new counterexample. ``make fuzz`` looks for those, with examples that its seed picks."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", _PATIENT, derandomize=True)
settings.register_profile("searching", _PATIENT, derandomize=False)
settings.load_profile(os.environ.get("B24CAL_TEST_PROPERTIES", "steady"))
