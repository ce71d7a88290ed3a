"""The verdict: what the numbers of a lose-and-regain experiment show, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """What counts as a fact, in units of return.

    The defaults are for Catch (-1 to 1), 24 tasks and one seed. A task's final return scatters by about 0.25 from task
    to task, so the difference of two means over six tasks has a standard error near 0.25 * sqrt(2 / 6) = 0.14.

    Args:
        learns: a variant learns if a quarter's return is at least this: half-way from the random to the optimal policy.
        lost: plasticity is lost if the last quarter is at least this far below `fresh`: 3.5 standard errors.
        regained: it is regained if the last quarter is at most this far below `fresh`: well under half of `lost`.
    """

    learns: float = 0.2
    lost: float = 0.5
    regained: float = 0.2


def verdict(
    quarters: Mapping[str, Sequence[float]],
    treated: str,
    *,
    plain: str = "none",
    fresh: str = "fresh",
    thresholds: Thresholds | None = None,
) -> str:
    """Say what the last quarters show of losing plasticity and regaining it; claim nothing that they do not.

    Args:
        quarters: variant -> mean final return of each quarter of the tasks, in order.
        treated: the variant whose mitigation begins late.
        plain: the variant without any mitigation.
        fresh: the reference that starts every task with a new network.
        thresholds: what counts; those for Catch by default.
    """
    limits = thresholds or Thresholds()
    untreated, treatment, reference = (quarters[name][-1] for name in (plain, treated, fresh))
    against = f"last quarter {untreated:+.2f} against {reference:+.2f} of a fresh network"
    # Not `<`: a comparison with NaN is false, and a NaN must end in the sentence that claims nothing.
    if not reference >= limits.learns:
        return f"Nothing shown: fresh networks do not learn these tasks either (last quarter {reference:+.2f})."
    if not quarters[plain][0] >= limits.learns:
        return f"Nothing shown: the plain agent did not learn at first (first quarter {quarters[plain][0]:+.2f})."
    if not reference - untreated >= limits.lost:
        return (
            f"No loss of plasticity shown: without treatment, {against}; a loss is a gap of {limits.lost:.2f} or more."
        )
    loss = f"Without treatment the agent lost its plasticity ({against})"
    if not reference - treatment <= limits.regained:
        return f"{loss}; with {treated} it was not regained ({treatment:+.2f})."
    return f"{loss}; with {treated} it was regained ({treatment:+.2f})."
