"""Checking: mitigations held to their promises while they run, call by call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.learner_state import State, membership, same
from lopgym.agents.mitigations import Mitigation, OptimizerFactory, mitigations
from lopgym.agents.network import NetworkSpec
from lopgym.agents.promises import Part, Promises
from lopgym.probes.recording import undisturbed

SAMPLES = 64  # observations on which outputs before and after are compared

MayWrite = Callable[[str, Part], bool]  # (kind of tensor, part) -> whether a hook may


class PromiseBroken(Exception):  # noqa: N818  an error in its name would say no more
    """A mitigation did what it promised not to do."""

    exit_code = 1


class NothingPromised(ValueError):  # noqa: N818  likewise
    """A mitigation that was registered without promises cannot be checked."""

    exit_code = 2


def checked(methods: Mapping[str, Mitigation]) -> dict[str, Checked]:
    """Return the same methods, each of whose calls is checked; the run is bitwise the same.

    Raises:
        NothingPromised: one is registered without promises, or not at all.
    """
    return {name: Checked(name=name, method=method, promises=promises_of(method)) for name, method in methods.items()}


def promises_of(method: Mitigation) -> Promises:
    """Return what a method was registered with.

    Raises:
        NothingPromised: that is nothing.
    """
    for entry in mitigations:
        if entry.make is type(method) and "promises" in entry.facts:
            found: Promises = entry.facts["promises"]
            return found
    raise NothingPromised(f"{type(method).__name__} promises nothing that could be checked: register it with promises=")


@dataclass(kw_only=True, eq=False)
class Checked(Mitigation):
    """A method, and around every call of its hooks a look at all that it could have written.

    It reports, of methods that say that they preserve the function, exactly or nearly, the `checked_acts` that wrote
    weights and the sum of their `function_change`: the greatest change of an output, as a share of the largest.

    Args:
        name: for messages.
        method: what is checked; every seam calls it.
        promises: what it is held to.

    Raises:
        PromiseBroken: in a hook; the message names method, tensor and update.
    """

    name: str
    method: Mitigation
    promises: Promises
    calls: int = field(default=0, init=False)
    seen: set[Part] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        """Begin when the method begins."""
        self.active_from = self.method.active_from

    def build_network(self, spec: NetworkSpec) -> NetworkSpec:
        """Pass on."""
        return self.method.build_network(spec)

    def wrap_optimizer(self, factory: OptimizerFactory) -> OptimizerFactory:
        """Pass on."""
        return self.method.wrap_optimizer(factory)

    def begin(self, learner: Learner) -> None:
        """Check that nothing changes, unless parameters join."""
        before = State.of(learner)
        self.method.begin(learner)
        self._hold(learner, "begin", before, lambda what, part: False)

    def on_gradient(self, learner: Learner) -> None:
        """Check that gradients of what is promised change, and nothing else."""
        parts = self.promises.parts(self.method)
        self._watch(learner, "on_gradient", lambda what, part: what == "gradient" and part in parts)

    def after_step(self, learner: Learner) -> None:
        """Check what is written, and the function."""
        self._watch_act(learner, "after_step")

    def on_task_change(self, learner: Learner) -> None:
        """Check what is written, and the function."""
        self._watch_act(learner, "on_task_change")

    def end(self, learner: Learner) -> None:
        """Pass on."""
        self.method.end(learner)

    def state_dict(self) -> dict[str, Any]:
        """Return the method's, and what was counted."""
        return {"method": self.method.state_dict(), "calls": self.calls, "seen": sorted(self.seen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self.method.load_state_dict(state["method"])
        self.calls, self.seen = state["calls"], {*state["seen"]}

    def _watch_act(self, learner: Learner, seam: str) -> None:
        parts = self.promises.parts(self.method)
        preserving = self.promises.function in ("exact", "approximate") and seam in self.method.seams()
        observations = recent(learner) if preserving else None
        said = {} if observations is None else outputs(learner, observations)
        wrote = self._watch(learner, seam, lambda what, part: what == "gradient" or part in parts)
        if wrote and self.promises.function == "n/a":
            self._broken(learner, seam, f"wrote {wrote[0]}, though no hook of it writes weights (function='n/a')")
        if wrote and observations is not None:
            self._compare(learner, seam, said, outputs(learner, observations))

    def _watch(self, learner: Learner, seam: str, may_write: MayWrite) -> list[str]:
        """Call a hook and return the parameters that it wrote."""
        if seam not in self.method.seams():
            return []
        before = State.of(learner)
        getattr(self.method, seam)(learner)
        self.calls += 1
        return self._hold(learner, seam, before, may_write)

    def _hold(self, learner: Learner, seam: str, before: State, may_write: MayWrite) -> list[str]:
        after = State.of(learner)
        extra = "extra" in self.promises.parts(self.method)
        for fault in (*before.faults(after, extra), *membership(learner, extra)):
            self._broken(learner, seam, fault)
        written = {name: where for name, where in before.changes(after).items() if where[0] != "new"}
        for name, (what, part) in written.items():
            if not may_write(what, part):
                self._broken(learner, seam, f"wrote {name} ({part}), which it promises to leave alone")
        relevant = {where for where in written.values() if where[0] != "gradient" or seam == "on_gradient"}
        self.seen |= {part for _, part in relevant}
        if self.promises.synchronises and any(part == "target" for _, part in relevant):
            self._synchronised(learner, seam)
        return [name for name, (what, _) in written.items() if what == "network"]

    def _synchronised(self, learner: Learner, seam: str) -> None:
        assert learner.target is not None, "a target that was written is there"
        target = learner.target.state_dict()
        for name, value in learner.network.state_dict().items():
            if not same(value, target[name]):
                self._broken(learner, seam, f"left target.{name} unlike the network's, which it promises to copy")

    def _compare(self, learner: Learner, seam: str, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
        change, where = change_of(before, after)
        learner.report({"checked_acts": 1, "function_change": change})
        if self.promises.function == "exact" and not change <= self.promises.slack:
            self._broken(
                learner, seam, f"changed {where} by {change:.2g} of its size, more than {self.promises.slack:g}"
            )

    def _broken(self, learner: Learner, seam: str, what: str) -> None:
        raise PromiseBroken(f"{self.name}: {seam} at update {learner.updates} (task {learner.task}) {what}")


def recent(learner: Learner) -> Tensor:
    """Draw recent observations, those that the next to ask would get, and leave them to it."""
    stream = learner.rows.get_state()
    observations = learner.observations(SAMPLES)
    learner.rows.set_state(stream)
    return observations


def outputs(learner: Learner, observations: Tensor) -> dict[str, Tensor]:
    """Return what each head says of `observations`; neither network nor any random stream is touched."""
    said: dict[str, Tensor] = {}
    with ExitStack() as hooks, undisturbed(learner.network):
        for name, head in learner.heads.items():
            hooks.callback(head.register_forward_hook(lambda m, i, out, name=name: said.update({name: out})).remove)
        learner.forward(observations)
    return {name: out.detach().clone() for name, out in said.items()}


def change_of(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> tuple[float, str]:
    """Return the greatest change of an output as a share of the largest output of its head, and that head."""
    shares = {
        name: ((after[name] - was).abs().max() / was.abs().max().clamp(min=torch.finfo(was.dtype).tiny)).item()
        for name, was in before.items()
    }
    where = max(shares, key=lambda name: shares[name])
    return shares[where], where
