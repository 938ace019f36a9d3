"""How many random examples the tests of this suite try, and whether they are new ones.

`make test` uses the profile "short": few examples, and always the same ones, so that the same tree has the same result
everywhere. `make test-long` uses the profile "long": many examples, drawn from the seed that it prints.
"""

from hypothesis import HealthCheck, Phase, settings

LONG = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    database=None,  # the seed alone decides what is tried
    phases=[Phase.generate, Phase.shrink],  # without Phase.explain, which takes as long as the others
    suppress_health_check=list(HealthCheck),
)
SHORT = settings(LONG, max_examples=100, derandomize=True)
SHORT_ON_A_STORE = settings(SHORT, max_examples=10, stateful_step_count=30)
"""For tests whose every example is a conversation with a store."""

settings.register_profile("long", LONG)
settings.register_profile("short", SHORT)
if settings.get_current_profile_name() == "default":  # pytest's option --hypothesis-profile comes later and prevails
    settings.load_profile("short")


def on_a_store() -> settings:
    """Return the settings for a test whose every example talks to a store.

    With the profile "long" they are those of LONG, otherwise SHORT_ON_A_STORE.
    """
    return LONG if settings.get_current_profile_name() == "long" else SHORT_ON_A_STORE
