"""Page and Hinkley's test: how far a stream has climbed above its own mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lopgym.agents.detectors import Detector, detectors
from lopgym.bounds import NonNegativeFloat, PositiveFloat, PositiveInt


@detectors.register(
    "page_hinkley", cite="doi:10.1093/biomet/41.1-2.100 (Page 1954); Gama et al. 2014, doi:10.1145/2523813"
)
@dataclass(kw_only=True, eq=False)
class PageHinkley(Detector):
    """Alarm when the stream has climbed: m_T - min_t m_t > threshold, with m_T = sum_t (x_t - mean_t - delta).

    mean_t is the mean of x_1 ... x_t. The difference is kept as g <- max(0, g + x - mean - delta), the same number.
    After an alarm it begins anew. It has no forgetting factor, which some libraries add.

    Args:
        delta: rise that is tolerated; larger: fewer alarms, and small changes go unheard.
        threshold: climb that is alarming; larger: fewer and later alarms.
        warm_up: values before the first alarm.
    """

    delta: NonNegativeFloat = 0.1
    threshold: PositiveFloat = 30.0
    warm_up: PositiveInt = 30

    def start(self) -> dict[str, Any]:
        """Return no values, no mean and no climb."""
        return {"heard": 0, "mean": 0.0, "climb": 0.0}

    def update(self, value: float) -> bool:
        """Hear one value."""
        memory = self.memory
        memory["heard"] += 1
        memory["mean"] += (value - memory["mean"]) / memory["heard"]
        memory["climb"] = max(0.0, memory["climb"] + value - memory["mean"] - self.delta)
        alarm: bool = memory["heard"] >= self.warm_up and memory["climb"] > self.threshold
        if alarm:
            self.memory = self.start()
        return alarm
