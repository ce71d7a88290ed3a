"""Mitigations: seams in the life of a network. A method overrides the ones it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer

from lopgym.agents.learner import Learner
from lopgym.agents.network import NetworkSpec
from lopgym.bounds import NonNegativeInt
from lopgym.declared import hold_words
from lopgym.registry import Registry

OptimizerFactory = Callable[..., Optimizer]

HOOKS = ("on_gradient", "after_step", "on_task_change")
SHAPERS = ("build_network", "wrap_optimizer")


@dataclass(kw_only=True, eq=False)
class Mitigation:
    """Base of every mitigation: each seam defaults to doing nothing.

    Args:
        active_from: task from which on the hooks act; before it, the run is bitwise the run without the mitigation.

    Raises:
        ValueError: `active_from` on a method that shapes the network or the optimizer, which exist from the start; or
            an option that is none of the words which its type allows.
    """

    active_from: NonNegativeInt = 0

    def __post_init__(self) -> None:
        """Refuse a word that nobody knows, and a late start where there can be none."""
        try:
            hold_words(self)
        except ValueError as error:
            raise ValueError(f"{name_of(self)}: {error}") from None
        shapes = [seam for seam in SHAPERS if seam in self.seams()]
        if self.active_from and shapes:
            raise ValueError(
                f"{type(self).__name__} acts from the start ({', '.join(shapes)}): active_from={self.active_from} "
                "is for methods that act by hooks alone"
            )

    @classmethod
    def seams(cls) -> tuple[str, ...]:
        """Names of the seams that this class overrides."""
        return tuple(s for s in (*SHAPERS, *HOOKS) if getattr(cls, s) is not getattr(Mitigation, s))

    def build_network(self, spec: NetworkSpec) -> NetworkSpec:
        """Return what to build instead of `spec`."""
        return spec

    def wrap_optimizer(self, factory: OptimizerFactory) -> OptimizerFactory:
        """Return a maker of optimizers to use instead of `factory`."""
        return factory

    def begin(self, learner: Learner) -> None:
        """Look at the learner once before its first update, whatever `active_from` says; change nothing."""

    def on_gradient(self, learner: Learner) -> None:
        """Act after the backward pass, before clipping: change gradients here."""

    def after_step(self, learner: Learner) -> None:
        """Act after the optimizer's step: change weights here."""

    def on_task_change(self, learner: Learner) -> None:
        """Act between the last update on the old task and the first action in the new one."""

    def end(self, learner: Learner) -> None:
        """Let go of the learner when its training ends: take off what listens to its modules. `begin` may follow."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the method remembers between updates, as tensors and plain data."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""


mitigations: Registry[Mitigation] = Registry("mitigation", __name__, "lopgym.mitigations")


def name_of(method: Mitigation) -> str:
    """Return the name under which the class of `method` is registered, or else its own."""
    return next((e.name for e in mitigations if e.make is type(method)), type(method).__name__)
