"""Relative size: a number for each unit, as a multiple of its layer's average."""

from __future__ import annotations

from torch import Tensor


def relative_to_mean(sizes: Tensor) -> Tensor:
    """Divide the sizes of units, 0 or more, by their mean (U,); all are 0 where the mean is.

    >>> import torch
    >>> relative_to_mean(torch.tensor([1.0, 0.0, 5.0]))
    tensor([0.5000, 0.0000, 2.5000])
    """
    average = sizes.mean()
    return sizes / average.where(average != 0, 1.0)
