"""Around: optimizers that are built on another optimizer, and what may be said of the ones they are built on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from lopgym.agents.mitigations import OptimizerFactory


class Around(Optimizer):
    """An optimizer with another one inside. To the outside it is one: one set of groups, of memories, of hooks.

    A subclass of the inner one's class would not do: PyTorch wraps the step of every class with the hooks, which
    would run twice.
    """

    def __init__(self, base: Optimizer) -> None:
        """Take over the groups of `base`."""
        super().__init__(base.param_groups, base.defaults)
        self.base = base

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs."""
        return super().__getstate__() | {"base": self.base}

    def step_base(self) -> None:
        """Let the inner optimizer take its step on our groups and memories, which loading or copying may replace."""
        self.base.param_groups, self.base.state = self.param_groups, self.state
        self.base.step()

    def moving(self) -> list[Tensor]:
        """Return the parameters that have a gradient, in order."""
        return [p for group in self.param_groups for p in group["params"] if p.grad is not None]


@dataclass(frozen=True)
class Outermost:
    """A maker of optimizers that stays outside of whatever later methods put in the place of Adam.

    Args:
        wrap: builds the outer optimizer around the inner one.
        base: makes the inner one.
    """

    wrap: Callable[[Optimizer], Optimizer]
    base: OptimizerFactory

    def __call__(self, params: Iterable[Any], lr: float, **options: Any) -> Optimizer:
        """Make both."""
        return self.wrap(self.base(params, lr=lr, **options))


def inside(factory: OptimizerFactory, change: Callable[[OptimizerFactory], OptimizerFactory]) -> OptimizerFactory:
    """Return `factory` with its innermost maker changed."""
    return Outermost(factory.wrap, inside(factory.base, change)) if isinstance(factory, Outermost) else change(factory)


def plain_adam(name: str, factory: OptimizerFactory, params: Iterable[Any], lr: float, **options: Any) -> Adam:
    """Make the Adam that the method `name` is about to replace.

    Raises:
        ValueError: another method has replaced it already, or given it a weight decay.
    """
    made = factory(params, lr=lr, **options)
    if not isinstance(made, Adam):
        raise ValueError(f"{getattr(made, 'method', type(made).__name__)} and {name} both replace Adam: take one")
    if any(group["weight_decay"] for group in made.param_groups):
        raise ValueError(f"{name} replaces Adam, and adamw is about Adam's steps: take one; {name} can decay weights")
    return made


def innermost(optimizer: Optimizer) -> Optimizer:
    """Return the optimizer inside of all others."""
    return innermost(optimizer.base) if isinstance(optimizer, Around) else optimizer


def evaluated(closure: Callable[[], float] | None) -> float | None:
    """Call the closure of an optimizer's step, which computes loss and gradients; None if there is none."""
    with torch.enable_grad():
        return closure() if closure else None
