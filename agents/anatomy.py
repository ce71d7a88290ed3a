"""Anatomy: the named parts of one Stable-Baselines3 model, and the arguments that build it around our trunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lopgym.agents import agents
from lopgym.agents.initialisers import Affine
from lopgym.agents.mitigations import Mitigation, OptimizerFactory
from lopgym.agents.network import Layer, NetworkSpec, Trunk
from lopgym.agents.stacking import refuse


@dataclass(frozen=True)
class Batch:
    """Recent samples of what an agent learns from.

    Args:
        observations: (B, ...), as the network reads them.
        loss: maps them to the loss of each sample, (B,), as the agent's training takes it: the mean is its loss on this
            batch. Actions, targets, advantages and the policy of the rollout are fixed.
        regression: maps them to what each head that learns values says of the samples, and what it is to say: head to
            two of (B,).
        ages: env steps, over all copies, taken since each sample was, (B,).
    """

    observations: Tensor
    loss: Callable[[Tensor], Tensor]
    regression: Callable[[Tensor], Mapping[str, tuple[Tensor, Tensor]]]
    ages: Tensor


@dataclass(frozen=True)
class Anatomy:
    """What probes and mitigations need to know of a model; one function per algorithm finds it.

    Args:
        network: what the optimizer trains.
        target: the lagging copy, or None.
        optimizer: the optimizer.
        forward: runs every trunk on observations without drawing a random number.
        layers: hidden layers of all trunks.
        heads: output maps by name.
        value_heads: names of those that say returns to be expected: a critic, and a Q network, of each action.
        action_heads: names of those that say a number for each discrete action, the greatest for the best: the logits
            of a policy, and again the values of a Q network, which is all the policy it has.
        batch: draws n recent samples with the given generator.
        action_probabilities: observations (B, ...) to the behaviour's action probabilities (B, A); None if actions
            are not discrete.
        fresh: makes a new `state_dict` for `network`, drawing from torch's global generator.
    """

    network: nn.Module
    target: nn.Module | None
    optimizer: Optimizer
    forward: Callable[[Tensor], object]
    layers: tuple[Layer, ...]
    heads: Mapping[str, Affine]
    value_heads: tuple[str, ...]
    action_heads: tuple[str, ...]
    batch: Callable[[int, torch.Generator], Batch]
    action_probabilities: Callable[[Tensor], Tensor] | None
    fresh: Callable[[], Mapping[str, Tensor]]

    def observations(self, n: int, rows: torch.Generator) -> Tensor:
        """Draw n recent observations, as the network reads them, (n, ...)."""
        return self.batch(n, rows).observations


def anatomy_of(model: Any) -> Anatomy:
    """Find the parts of `model`.

    Raises:
        TypeError: no registered agent is built on the model's algorithm.
    """
    for entry in agents:
        if isinstance(model, entry.facts["algorithm"]):
            found: Anatomy = entry.facts["anatomy"](model)
            return found
    known = ", ".join(sorted(entry.facts["algorithm"].__name__ for entry in agents))
    raise TypeError(f"no anatomy is registered for {type(model).__name__}; known: {known}")


def policy_kwargs(spec: NetworkSpec, mitigations: Sequence[Mitigation], *, eps: float) -> dict[str, Any]:
    """Fold `build_network` and `wrap_optimizer` of every mitigation into Stable-Baselines3's `policy_kwargs`.

    Args:
        spec: the network before any mitigation.
        mitigations: in the order in which they wrap.
        eps: of Adam. It must be stated: Stable-Baselines3 gives PPO 1e-5 only when it is handed the bare Adam class,
            and a wrapped one would silently get PyTorch's 1e-8.

    Raises:
        ValueError: two of the mitigations cannot be stacked.
    """
    refuse(mitigations)
    adam: OptimizerFactory = partial(torch.optim.Adam, eps=eps, fused=True)
    spec = reduce(lambda s, method: method.build_network(s), mitigations, spec)
    factory = reduce(lambda f, method: method.wrap_optimizer(f), mitigations, adam)
    return {
        "net_arch": [],
        "features_extractor_class": Trunk,
        "features_extractor_kwargs": {"spec": spec},
        "optimizer_class": factory,
    }
