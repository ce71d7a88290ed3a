"""Learner: all of an agent that a mitigation may touch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lopgym.agents.initialisers import Affine, bias_of
from lopgym.agents.network import Layer


@dataclass
class Learner:
    """A network in training.

    Args:
        network: what the optimizer trains (DQN: the Q network; PPO: the whole policy).
        target: a lagging copy of `network` with the same parameter names, or None.
        optimizer: the optimizer, with every parameter of `network` in it.
        forward: runs every trunk of `network` on observations (n, ...) without drawing a random number; use it, not
            `network(...)`, to look at activations: a policy's own forward samples actions.
        layers: hidden layers of all trunks, first to last, `actor.hidden0` ... or `q.hidden0` ...
        heads: the output maps by name (`actor.head`, `critic.head`, `q.head`).
        observations: draws n recent observations (n, ...) as the network reads them, from the stream `rows`.
        fresh: draws a freshly initialised `state_dict` for `network` from `rng`.
        rng: random numbers for mitigations; nobody else draws from it.
        updates: gradient steps taken, the one in progress included.
        task: number of the task that is being learned.
        steps: environment steps taken.
        rows: random numbers of `observations` alone.
        report: adds named counts of a mitigation; they are logged now and then as `mitigation/<name>/<what>`.
        ears: signal to what hears each value of it as it comes; see `listen`.
    """

    network: nn.Module
    target: nn.Module | None
    optimizer: Optimizer
    forward: Callable[[Tensor], object]
    layers: tuple[Layer, ...]
    heads: Mapping[str, Affine]
    observations: Callable[[int], Tensor]
    fresh: Callable[[], Mapping[str, Tensor]]
    rng: torch.Generator
    updates: int = 0
    task: int = 0
    steps: int = 0
    rows: torch.Generator = field(default_factory=torch.Generator)
    report: Callable[[Mapping[str, float]], None] = field(default=lambda values: None)
    ears: dict[str, list[Callable[[float], None]]] = field(default_factory=dict)

    def listen(self, signal: str, ear: Callable[[float], None]) -> None:
        """Let `ear` hear every value of `signal`, one of `lopgym.agents.hearing.SIGNALS`, from now on."""
        self.ears.setdefault(signal, []).append(ear)

    def hidden_affines(self) -> Iterator[tuple[str, Affine]]:
        """Yield every affine map that is no head."""
        for layer in self.layers:
            yield from layer.affines()

    def affines(self) -> Iterator[tuple[str, Affine]]:
        """Yield every affine map, hidden layers first, then heads: not norm gains, not `log_std`."""
        yield from self.hidden_affines()
        yield from self.heads.items()

    def weights_and_biases(self) -> Iterator[Tensor]:
        """Yield weight and bias of every affine map: what regularisers and shrink-and-perturb act on."""
        for _, module in self.affines():
            yield module.weight
            yield bias_of(module)

    @torch.no_grad()
    def synchronise_target(self) -> None:
        """Copy the network into its target, if there is one."""
        if self.target is not None:
            self.target.load_state_dict(self.network.state_dict())
