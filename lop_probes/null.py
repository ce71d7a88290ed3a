"""Null calibration: where a measured value stands among those of freshly initialised networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

Network = TypeVar("Network")

CHANCE = 3.0  # standard deviations from the mean of fresh networks that one more of them may well lie
ROUNDING = 1e-5  # relative spread below which fresh networks read the same: probes of single-precision networks round


@dataclass(frozen=True)
class Null:
    """A value and what it would be in networks that have learned nothing.

    Args:
        value: what was measured.
        mean: over the fresh networks.
        sd: their spread, the unbiased standard deviation.
        percentile: share of fresh networks that read lower, in %; those that read the same count half.
        z: (value - mean) / sd; None where the fresh networks all read the same: sd is at most `ROUNDING` times the
            larger of |value| and |mean|.
    """

    value: float
    mean: float
    sd: float
    percentile: float
    z: float | None

    @property
    def beyond(self) -> bool:
        """Whether the value lies beyond every fresh network's, by more than one more of them might.

        >>> null(4.0, [1.0, 2.0, 3.0]).beyond, null(6.0, [1.0, 2.0, 3.0]).beyond, null(2.5, [2.0, 2.0]).beyond
        (False, True, True)
        """
        return self.percentile in (0.0, 100.0) and (self.z is None or abs(self.z) > CHANCE)


def null(value: float, reference: Sequence[float]) -> Null:
    """Compare a value with those of fresh networks, at least two.

    Raises:
        ValueError: fewer than two of them have no spread.

    >>> null(3.0, [1.0, 2.0, 3.0])
    Null(value=3.0, mean=2.0, sd=1.0, percentile=83.33333333333333, z=1.0)
    """
    if len(reference) < 2:
        raise ValueError(f"a null needs at least 2 fresh networks, not {len(reference)}")
    sd, mean = (x.item() for x in torch.std_mean(torch.tensor(reference, dtype=torch.float64)))
    lower = sum((r < value) + (r == value) / 2 for r in reference)
    spread = sd > ROUNDING * max(abs(value), abs(mean))
    return Null(value, mean, sd, 100 * lower / len(reference), (value - mean) / sd if spread else None)


def calibrate(
    measure: Callable[[Network], Mapping[str, float]], network: Network, fresh: Iterable[Network]
) -> dict[str, Null]:
    """Measure `network` and fresh ones of its architecture alike, and compare them tag by tag.

    Args:
        measure: returns named scalars; it must look at the same observations every time.
        network: the network in question.
        fresh: newly initialised ones, at least two; one after the other is measured and can be dropped.

    >>> calibrate(lambda bias: {"bias": bias, "one": 1.0}, 7.0, [0.0, 2.0])["one"].z is None
    True
    """
    references = [measure(other) for other in fresh]
    return {tag: null(value, [r[tag] for r in references]) for tag, value in measure(network).items()}
