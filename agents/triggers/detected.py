"""By a change detector: what a deployed agent can know of a change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal, get_type_hints

from lopgym.agents.detectors import Detecting, Detector, detectors
from lopgym.agents.learner import Learner
from lopgym.agents.triggers import Trigger, triggers
from lopgym.declared import fitted
from lopgym.kinds import KindOf

WORSE = {"td_error": 1.0, "return": -1.0}
"""Signals, and the sign by which a rise is for the worse."""


class Standard:
    """Standardises a stream by the mean and deviation of all that came before, by Welford's recurrence."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        self.heard, self.mean, self.squares = 0, 0.0, 0.0

    def __call__(self, value: float) -> float | None:
        """Return the value in deviations from the mean of the values before it; None if they do not differ."""
        spread = sqrt(self.squares / self.heard) if self.heard else 0.0
        standard = (value - self.mean) / spread if spread else None
        self.heard += 1
        apart = value - self.mean
        self.mean += apart / self.heard
        self.squares += apart * (value - self.mean)
        return standard


@triggers.register("detected")
@dataclass(kw_only=True, eq=False)
class Detected(Trigger):
    """When a detector hears the agent's errors rise or its returns fall; it acts after the next update.

    Values are standardised by all that came since the start or the last alarm, so that thresholds mean the same in
    every world. Alarms in tasks before `active_from` are dropped. Reports `alarms`.

    Args:
        signal: `td_error`: |r + gamma V(s') - V(s)| of the newest step, the mean over copies, one value a step; of a
            DQN V(s') is its target's best action. `return`: of each episode as it ends.
        detector: a `kind` of detector and its options.
        standardise: subtract the mean and divide by the deviation of what was heard before.

    Raises:
        ValueError: a signal or a detector that does not exist, or an option that is out of bounds.
    """

    signal: Literal["td_error", "return"] = "td_error"
    detector: Detecting = "page_hinkley"
    standardise: bool = True

    def __post_init__(self) -> None:
        """Build the detector."""
        hints = get_type_hints(type(self), include_extras=True)
        for name in ("signal", "standardise"):
            fitted(name, getattr(self, name), hints[name])
        self._detector: Detector = KindOf(detectors).build("detector", self.detector)
        self._standard, self._due = Standard(), False

    def begin(self, learner: Learner, active_from: int) -> None:
        """Listen."""

        def ear(value: float) -> None:
            alarm = self.hear(value)
            self._due |= alarm and learner.task >= active_from

        learner.listen(self.signal, ear)

    def hear(self, value: float) -> bool:
        """Hear one value of the signal; say whether it is alarming."""
        value = WORSE[self.signal] * value
        heard = self._standard(value) if self.standardise else value
        alarm = heard is not None and self._detector.update(heard)
        if alarm:
            self._standard = Standard()
        return alarm

    def after_step(self, learner: Learner) -> bool:
        """Act once for any number of alarms since the last update."""
        due, self._due = self._due, False
        if due:
            learner.report({"alarms": 1})
        return due

    def state_dict(self) -> dict[str, Any]:
        """Return what was heard, and whether an alarm is waiting."""
        return {"detector": self._detector.state_dict(), "standard": vars(self._standard).copy(), "due": self._due}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._detector.load_state_dict(state["detector"])
        vars(self._standard).update(state["standard"])
        self._due = state["due"]
