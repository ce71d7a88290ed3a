"""ADWIN: a window that keeps growing as long as its older and its newer part have the same mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt
from typing import Annotated, Any

from annotated_types import Interval

from lopgym.agents.detectors import Detector, detectors
from lopgym.bounds import PositiveInt

MOST = 5  # buckets of one size
Bucket = list[float]  # number of values, their sum, and the sum of their squared deviations from their mean


@detectors.register("adwin", cite="doi:10.1137/1.9781611972771.42 (ADWIN2)")
@dataclass(kw_only=True, eq=False)
class Adwin(Detector):
    """Adaptive window: drop the oldest values while some older part differs in mean from the newer rest.

    Parts of n0 and n1 values differ if |mean_0 - mean_1| > sqrt(2/m var ln(2/d)) + 2/(3m) ln(2/d), with
    1/m = 1/n0 + 1/n1, d = delta / ln(n0 + n1) and var of the whole window (Bifet and Gavaldà 2007). Cuts are tried at
    the borders of buckets of 1, 2, 4 ... values, at most 5 of a size. The test is two-sided; by default only a rise is
    an alarm, and a fall shortens the window in silence: an error that shrinks is learning.

    Args:
        delta: confidence; smaller: fewer and later alarms.
        clock: values between two tests; larger: cheaper and later.
        least: values that a part must have.
        falls: a fall is an alarm as well.
    """

    delta: Annotated[float, Interval(gt=0, lt=1)] = 0.002
    clock: PositiveInt = 32
    least: PositiveInt = 5
    falls: bool = False

    def start(self) -> dict[str, Any]:
        """Return an empty window; buckets stand oldest first."""
        return {"heard": 0, "buckets": []}

    def state_dict(self) -> dict[str, Any]:
        """Return the window, copied: buckets are rewritten in place."""
        return {"heard": self.memory["heard"], "buckets": [list(bucket) for bucket in self.memory["buckets"]]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self.memory = {"heard": state["heard"], "buckets": [list(bucket) for bucket in state["buckets"]]}

    @property
    def width(self) -> int:
        """Number of values in the window."""
        return int(sum(bucket[0] for bucket in self.memory["buckets"]))

    def update(self, value: float) -> bool:
        """Hear one value."""
        self.memory["heard"] += 1
        buckets: list[Bucket] = self.memory["buckets"]
        buckets.append([1, value, 0.0])
        _compress(buckets)
        if self.memory["heard"] % self.clock:
            return False
        alarm = False
        while (rise := self._first_difference(buckets)) is not None:
            del buckets[0]
            alarm |= rise > 0 or self.falls
        return alarm

    def _first_difference(self, buckets: list[Bucket]) -> float | None:
        """Return by how much the newer part is above the older at the first cut that shows a difference."""
        if not buckets:
            return None
        whole = _joined(buckets)
        before: Bucket = [0, 0.0, 0.0]
        for bucket in buckets[:-1]:
            before = [before[0] + bucket[0], before[1] + bucket[1], 0.0]
            n, m = before[0], whole[0] - before[0]
            if min(n, m) >= self.least:
                rise = (whole[1] - before[1]) / m - before[1] / n
                if abs(rise) > _tolerance(n, m, whole[2] / whole[0], self.delta):
                    return rise
        return None


def _tolerance(n: float, m: float, variance: float, delta: float) -> float:
    shares, doubt = 1 / n + 1 / m, log(2 * log(n + m) / delta)
    return sqrt(2 * shares * variance * doubt) + 2 / 3 * shares * doubt


def _merged(left: Bucket, right: Bucket) -> Bucket:
    n, m = left[0], right[0]
    apart = left[1] / n - right[1] / m
    return [n + m, left[1] + right[1], left[2] + right[2] + apart**2 * n * m / (n + m)]


def _joined(buckets: list[Bucket]) -> Bucket:
    whole = buckets[0]
    for bucket in buckets[1:]:
        whole = _merged(whole, bucket)
    return whole


def _compress(buckets: list[Bucket]) -> None:
    """Merge the two oldest buckets of a size of which there are more than `MOST`, smallest size first."""
    size, end = 1, len(buckets)
    while True:
        begin = end
        while begin > 0 and buckets[begin - 1][0] == size:
            begin -= 1
        if end - begin <= MOST:
            return
        buckets[begin : begin + 2] = [_merged(*pair) for pair in pairwise(buckets[begin : begin + 2])]
        size, end = 2 * size, begin + 1
