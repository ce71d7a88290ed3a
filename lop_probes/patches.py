"""Patches: what an affine map is given, arranged as the columns of its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lopgym.probes.recording import CONVOLUTIONS


def columns(affine: nn.Module, given: Tensor) -> Tensor:
    """Arrange what `affine` is given so that a row times a row of its weights is what it returns.

    Args:
        affine: a linear map, or a convolution of one group.
        given: (B, ..., I), or images (B, I, ...).

    Returns:
        (B, I + 1), the last column 1 where there is a bias; of a convolution its patches, (B * H * W, I * k * k + 1).

    >>> import torch
    >>> columns(nn.Linear(2, 3), torch.tensor([[5.0, 7.0]]))
    tensor([[5., 7., 1.]])
    >>> columns(nn.Conv1d(1, 4, 2, bias=False), torch.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[1., 2.],
            [2., 3.]])
    """
    rows = _patches(affine, given) if isinstance(affine, CONVOLUTIONS) else given.reshape(-1, given.shape[-1])
    return rows if affine.bias is None else torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)


def _patches(convolution: Any, images: Tensor) -> Tensor:
    """Cut (B, I, ...) into what each place of the output sees, (B * H * W, I * k * k)."""
    mode = "constant" if convolution.padding_mode == "zeros" else convolution.padding_mode
    windows = nn.functional.pad(images, convolution._reversed_padding_repeated_twice, mode=mode)
    shapes = zip(convolution.kernel_size, convolution.stride, convolution.dilation, strict=True)
    for axis, (size, stride, dilation) in enumerate(shapes, start=2):
        windows = windows.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    places = len(convolution.kernel_size)  # axes: B, I, the places of the output, the places of the kernel
    return windows.movedim(1, 1 + places).flatten(0, places).flatten(1)
