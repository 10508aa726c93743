"""Property tests: the same examples on every run, and no limits on time (shared machines stall)."""

from hypothesis import HealthCheck, settings

UNTIMED = [HealthCheck.too_slow, HealthCheck.filter_too_much]
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50, suppress_health_check=UNTIMED)
settings.load_profile("steady")
