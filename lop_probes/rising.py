"""Rising: numbers in order of size."""

from __future__ import annotations

import torch
from torch import Tensor


def rising(values: Tensor) -> Tensor:
    """Sort along the last axis. By NumPy, whose sort uses vector instructions: on a CPU many times faster than torch's.

    >>> rising(torch.tensor([[3.0, 1.0, 2.0]]))
    tensor([[1., 2., 3.]])
    """
    rows = values.detach().cpu().clone(memory_format=torch.contiguous_format)
    rows.numpy().sort(axis=-1)
    return rows.to(values.device)
