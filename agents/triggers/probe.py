"""By a probe's value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from lopgym.agents.learner import Learner
from lopgym.agents.triggers import Trigger, triggers
from lopgym.bounds import PositiveInt
from lopgym.declared import fitted
from lopgym.probes import probes
from lopgym.probes.captures import Captures, Probe, requests
from lopgym.registry import nearest

KNOWN = ("activations", "network", "observations", "pre_activations", "rng", "weights")
"""What a learner can supply at any moment; probes that request more cannot be read between two measurements."""


@triggers.register("probe")
@dataclass(kw_only=True, eq=False)
class ProbeTrigger(Trigger):
    """When a probe of any layer is beyond a threshold; it is read every so many updates on recent observations.

    It fires at every reading beyond the threshold, not at the first alone: a cure that did not work is tried again.
    A read costs a forward pass of `batch` samples and the probe's own arithmetic. Reports `alarms`.

    Args:
        probe: name of a probe that needs activations, pre-activations or weights and nothing else.
        threshold: value that is one too many.
        side: fire `above` the threshold or `below` it.
        every: updates between two readings; smaller: earlier alarms at higher cost.
        batch: recent observations that it is read on.
        options: of the probe; null: its defaults.

    Raises:
        ValueError: no such probe, one that requests what cannot be had, or an option that is out of bounds.
    """

    probe: str = "dormant_fraction"
    threshold: float = 0.3
    side: Literal["above", "below"] = "above"
    every: PositiveInt = 200
    batch: PositiveInt = 256
    options: dict[str, float] | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be read."""
        fitted("side", self.side, Literal["above", "below"])
        entries = {entry.name: entry for entry in probes}
        if self.probe not in entries:
            raise ValueError(f"no probe named {self.probe!r}; {nearest(self.probe, entries)}")
        entry = entries[self.probe]
        for request in set(requests(entry.make)) - set(KNOWN):
            raise ValueError(
                f"probe {self.probe!r} needs {request}, which a trigger has not; it has {', '.join(KNOWN)}"
            )
        chosen = self.options or {}
        for option in chosen.keys() - entry.options.keys():
            raise ValueError(f"probe {self.probe!r} has no option {option!r}; {nearest(option, entry.options)}")
        self._probe: Probe = partial(entry.make, **chosen)

    def is_near(self, learner: Learner) -> bool:
        """Say whether it reads after the next update."""
        return (learner.updates + 1) % self.every == 0

    def after_step(self, learner: Learner) -> bool:
        """Read every `every` updates."""
        if learner.updates % self.every:
            return False
        values = self.read(learner).values()
        beyond = any(v > self.threshold if self.side == "above" else v < self.threshold for v in values)
        if beyond:
            learner.report({"alarms": 1})
        return beyond

    def read(self, learner: Learner) -> dict[str, float]:
        """Return the probe's value of each layer."""
        layers: dict[str, Any] = {layer.name: (layer.incoming, layer.activation) for layer in learner.layers}
        seen = learner.observations(self.batch)
        captures = Captures(learner.network, layers, learner.heads, seen, forward=learner.forward)
        return captures.supply(self.probe, self._probe)
