"""Everything is kept, as it came: the baseline of all others."""

from mnemos.activation.policy import FULL, Policy


def make() -> Policy:
    """The policy."""
    return FULL
