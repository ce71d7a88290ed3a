"""Value churn: how much the values have moved, up or down."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register
from lopgym.probes.churn import moves


@register("value_churn", bounds=(0, float("inf")), cite="arXiv:2409.04792", invariant=("units", "samples"))
def value_churn(values: Mapping[str, Tensor], previous_values: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean absolute change of values since the last measurement, in the unit of returns.

    E|v(x) - v'(x)|, v' being the network of the last measurement on the observations of this one; over all actions,
    where a head values those. Beside it, `value_drift` is what all of them moved by together.

    Args:
        values: head to what it expects, of states (B, 1) or of their actions (B, A).
        previous_values: the same by the network of the last measurement.

    >>> import torch
    >>> value_churn({"critic.head": torch.tensor([[4.0], [1.0]])}, {"critic.head": torch.tensor([[1.0], [2.0]])})
    {'critic.head': 2.0}
    """
    return {name: moved.abs().mean().item() for name, moved in moves(values, previous_values).items()}
