"""Excess kurtosis: how little pre-activations look Gaussian, by their fourth moment."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import PositiveFloat
from lopgym.probes import register
from lopgym.probes.normality import median_over_units


@register(
    "excess_kurtosis",
    bounds=(0, float("inf")),
    cite="arXiv:2510.00304, the authors' metrics.py",
    invariant=("units", "samples", "scale", "unit scale", "offset"),
)
def excess_kurtosis(order_statistics: Mapping[str, Tensor], *, cap: PositiveFloat = 10.0) -> dict[str, float]:
    """Size of the pre-activations' excess kurtosis, capped, the median over units.

    min(|m_4 / m_2^2 - 3|, `cap`), m_k the central moments over the batch: 0 if Gaussian, 1.2 if uniform, 2 if only two
    values occur, large if few samples carry the spread. Constant units are left out; 0 if all are. The authors' code
    takes the mean over units and counts constant ones as 10.

    Args:
        order_statistics: layer to (U', n), of the pre-activations of the units that vary; see `normality`.
        cap: no unit counts for more.

    >>> import torch
    >>> excess_kurtosis({"hidden0": torch.tensor([[-1.0, -1.0, 1.0, 1.0]])})
    {'hidden0': 2.0}
    """
    return median_over_units(lambda rows: _excess(rows).clamp(max=cap), order_statistics)


def _excess(rows: Tensor) -> Tensor:
    fourth, second = rows.pow(4).mean(dim=1), rows.square().mean(dim=1)
    return (fourth / second.square() - 3).abs()
