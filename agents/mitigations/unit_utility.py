"""Unit utilities: seven answers to what a hidden unit is worth, for methods that replace those worth least."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lopgym.agents.network import Layer

UtilityName = Literal[
    "contribution",
    "weight",
    "zero_contribution",
    "adaptable_contribution",
    "feature_by_input",
    "adaptation",
    "random",
]
_LEAST_WEIGHT = 1e-8  # of all incoming weights of a unit: what is divided by is not 0


@dataclass(frozen=True)
class Evidence:
    """What units are judged by; all numbers that a unit puts out count, k of them with an activation such as CReLU.

    Args:
        layer: whose units they are.
        activation: what they put out, the numbers of a unit as samples of it: (samples * k, U).
        mean: what they put out on average over a longer time, (k U,); only utilities that are `centred` read it.
    """

    layer: Layer
    activation: Tensor
    mean: Tensor

    @property
    def magnitude(self) -> Tensor:
        """mean|h|, (k U,)."""
        return self.layer.means(self.activation.abs())

    @property
    def deviation(self) -> Tensor:
        """mean|h - h_mean|, (k U,): what compensating for a unit's mean would not make up for."""
        return (self.activation.reshape(-1, len(self.mean)) - self.mean).abs().mean(0)

    @property
    def outgoing(self) -> Tensor:
        """sum|w_out|, (k U,)."""
        return outgoing_magnitude(self.layer)

    @property
    def incoming(self) -> Tensor:
        """sum|w_in|, (U,), biases left out."""
        return self.layer.incoming.weight.abs().flatten(1).sum(1).clamp_min(_LEAST_WEIGHT)

    def sum(self, numbers: Tensor) -> Tensor:
        """Add up what there is of each number, (k U,), by unit: (U,)."""
        return numbers if self.layer.halves == 1 else self.layer.per_unit(numbers).sum(0)


@dataclass(frozen=True)
class Utility:
    """One way to judge.

    Args:
        of: what each unit is worth by one minibatch, (U,).
        judge: turns the running mean of that, (U,), into what units are ranked by when some are replaced.
        centred: whether `of` reads the units' mean activation.
    """

    of: Callable[[Evidence], Tensor]
    judge: Callable[[Tensor, torch.Generator], Tensor] = lambda utility, rng: utility
    centred: bool = False


def _drawn(utility: Tensor, rng: torch.Generator) -> Tensor:
    return torch.rand(utility.shape, generator=rng).to(utility)


UTILITIES: Mapping[UtilityName, Utility] = {
    "contribution": Utility(lambda e: e.sum(e.magnitude * e.outgoing)),
    "weight": Utility(lambda e: e.sum(e.outgoing)),
    "zero_contribution": Utility(lambda e: e.sum(e.deviation * e.outgoing), centred=True),
    "adaptable_contribution": Utility(lambda e: e.sum(e.deviation * e.outgoing) / e.incoming, centred=True),
    "feature_by_input": Utility(lambda e: e.sum(e.deviation) / e.incoming, centred=True),
    "adaptation": Utility(lambda e: 1 / e.incoming),
    "random": Utility(lambda e: torch.zeros_like(e.incoming), judge=_drawn),
}
"""By the names of the authors' code, which has means of |w| where these are sums: of one layer they rank alike."""


def outgoing_magnitude(layer: Layer) -> Tensor:
    """Sum |w| over all weights that read each number that the layer puts out: (k U,), k being 1 of most activations."""
    numbers = layer.halves * layer.incoming.weight.shape[0]
    by_module = [_by_number(module.weight.abs(), numbers) for module in layer.outgoing]
    return by_module[0] if len(by_module) == 1 else torch.stack(by_module).sum(0)


def _by_number(weight: Tensor, numbers: int) -> Tensor:
    """Sum over all columns that read the same number, which are several behind a flattened image, and all rows."""
    outputs, *columns = weight.shape
    return weight.sum(0) if columns == [numbers] else weight.reshape(outputs, numbers, -1).sum((0, 2))


def least(utility: Tensor, eligible: Tensor, count: int) -> Tensor:
    """Mark the `count` eligible units of least utility, or all of them if they are fewer: bool (U,).

    >>> least(torch.tensor([3.0, 0.0, 2.0, 1.0]), torch.tensor([True, False, True, True]), 2)
    tensor([False, False,  True,  True])
    """
    order = utility.masked_fill(~eligible, torch.inf).argsort(stable=True)[:count]
    return torch.zeros_like(eligible).index_fill_(0, order, True).logical_and_(eligible)
