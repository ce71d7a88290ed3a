"""Rising: numbers in order of size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def rising(values: Tensor) -> Tensor:
    """Sort along the last axis. By NumPy, whose sort uses vector instructions: on a CPU many times faster than torch's.

    >>> rising(torch.tensor([[3.0, 1.0, 2.0]]))
    tensor([[1., 2., 3.]])
    """
    return torch.from_numpy(np.sort(values.detach().cpu().numpy(), axis=-1)).to(values.device)
