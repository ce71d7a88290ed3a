"""Unavailable: what is said when a request exists, but not here."""


class Unavailable(LookupError):  # noqa: N818 - it is a state of affairs, not a mistake
    """A request that exists, but not for this network: no gradients yet, no action probabilities at all."""
