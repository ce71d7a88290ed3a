"""Value drift: which way the values move, and how far."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register
from lopgym.probes.churn import moves


@register(
    "value_drift",
    bounds=(-float("inf"), float("inf")),
    cite="arXiv:2409.04792, the value change with its sign",
    invariant=("units", "samples"),
)
def value_drift(values: Mapping[str, Tensor], previous_values: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean change of values since the last measurement, with its sign, in the unit of returns.

    E[v(x) - v'(x)], v' being the network of the last measurement on the observations of this one: above 0, the agent
    has come to expect more of the same observations. At most `value_churn` in size, and equal to it if all values move
    one way. Normalised observations are normalised alike for both.

    Args:
        values: head to what it expects, of states (B, 1) or of their actions (B, A).
        previous_values: the same by the network of the last measurement.

    >>> import torch
    >>> value_drift({"critic.head": torch.tensor([[4.0], [1.0]])}, {"critic.head": torch.tensor([[1.0], [2.0]])})
    {'critic.head': 1.0}
    """
    return {name: moved.mean().item() for name, moved in moves(values, previous_values).items()}
