"""Number of examples: few and always the same, or ``PROPERTY_EXAMPLES`` random ones."""

import os

import hypothesis
from hypothesis import HealthCheck

MANY = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
COMMON = {
    "deadline": None,  # other processes may need the processor
    "database": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}

hypothesis.settings.register_profile("few", max_examples=25, derandomize=True, **COMMON)
hypothesis.settings.register_profile("many", max_examples=MANY or 1, **COMMON)
hypothesis.settings.load_profile("many" if MANY else "few")
