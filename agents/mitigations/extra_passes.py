"""Extra passes: what modules put out or are given on a batch, with autograd, and penalties that join the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lopgym.agents.learner import Learner
from lopgym.probes.recording import evaluated

Modules = Mapping[str, nn.Module]


def put_out(learner: Learner, modules: Modules, observations: Tensor) -> dict[str, Tensor]:
    """Run every trunk on `observations` (B, ...) and return what each module puts out, by name.

    The pass is one of evaluation: without dropout, and unheard by methods that listen to what is learned from.
    """
    heard: dict[str, Tensor] = {}

    def hear(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        heard[name] = output

    with evaluated(learner.network), ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(partial(hear, name)).remove)
        learner.forward(observations)
    return heard


def given(learner: Learner, modules: Modules, observations: Tensor) -> dict[str, Tensor]:
    """Run every trunk as `put_out` does and return what each module is given, by name."""
    heard: dict[str, Tensor] = {}

    def hear(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        heard[name] = inputs[0]
        return (inputs[0].clone(), *inputs[1:])  # it may overwrite what it is given

    with evaluated(learner.network), ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_pre_hook(partial(hear, name)).remove)
        learner.forward(observations)
    return heard


def decides(name: str) -> bool:
    """Tell whether a layer or head of this name has a part in what to do: an actor or Q network, not a critic."""
    return not name.startswith("critic.")


def gradient_of(learner: Learner, penalty: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return (gradient of the loss, gradient of `penalty`) of each parameter that the penalty reaches.

    One that the loss does not reach, such as a head of the penalty's own, is given a gradient of zeros: an optimizer
    passes over a parameter without one.
    """
    trained = [p for group in learner.optimizer.param_groups for p in group["params"] if p.requires_grad]
    found = torch.autograd.grad(penalty, trained, allow_unused=True)
    reached = [(p, gradient) for p, gradient in zip(trained, found, strict=True) if gradient is not None]
    for parameter, _ in reached:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [(parameter.grad, gradient) for parameter, gradient in reached]


def penalise(learner: Learner, penalty: Tensor, weight: float) -> None:
    """Add weight * `penalty` to the loss, by its gradient."""
    for gradient, pull in gradient_of(learner, penalty):
        gradient.add_(pull, alpha=weight)
