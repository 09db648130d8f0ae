"""The tests. How slow a machine is, or what else it does, fails none of them: so none has a timeout
that is shorter than trial's own, two minutes."""

from hypothesis import HealthCheck, settings

SLOW = [HealthCheck.too_slow]
settings.register_profile("any machine", deadline=None, suppress_health_check=SLOW)
settings.load_profile("any machine")
