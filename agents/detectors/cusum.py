"""CUSUM: how far a stream has climbed above a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lopgym.agents.detectors import Detector, detectors
from lopgym.bounds import NonNegativeFloat, PositiveFloat, PositiveInt


@detectors.register("cusum", cite="doi:10.1093/biomet/41.1-2.100 (Page 1954)")
@dataclass(kw_only=True, eq=False)
class Cusum(Detector):
    """Alarm when the one-sided cumulative sum is too large: g <- max(0, g + x - reference - slack) > threshold.

    The reference is the mean of the first `warm_up` values since the start or the last alarm; unlike the mean of Page
    and Hinkley's test it does not follow the stream.

    Args:
        slack: rise that is tolerated, half the change to be found; larger: fewer alarms.
        threshold: sum that is alarming; larger: fewer and later alarms.
        warm_up: values of which the reference is the mean; during them there is no alarm.
    """

    slack: NonNegativeFloat = 0.5
    threshold: PositiveFloat = 30.0
    warm_up: PositiveInt = 100

    def start(self) -> dict[str, Any]:
        """Return no values, no reference and no sum."""
        return {"heard": 0, "reference": 0.0, "sum": 0.0}

    def update(self, value: float) -> bool:
        """Hear one value."""
        memory = self.memory
        if memory["heard"] < self.warm_up:
            memory["heard"] += 1
            memory["reference"] += (value - memory["reference"]) / memory["heard"]
            return False
        memory["sum"] = max(0.0, memory["sum"] + value - memory["reference"] - self.slack)
        alarm: bool = memory["sum"] > self.threshold
        if alarm:
            self.memory = self.start()
        return alarm
