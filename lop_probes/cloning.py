"""Cloning: surgery that gives a network every hidden unit several times over and leaves what it computes alone."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from lopgym.probes.recording import CONVOLUTIONS

Network = TypeVar("Network", bound=nn.Module)
Affine = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def cloned(
    network: Network,
    copies: int = 2,
    *,
    scales: Sequence[float] | None = None,
    shares: Sequence[float] | None = None,
    halves: int = 1,
) -> Network:
    """Return a network that computes the same with `copies` times as many hidden units, clones side by side.

    Clone v of unit u has u's incoming weights and bias times `scales[v]`, and u's outgoing weights times `shares[v]`.
    With the defaults, equal copies that share equally, it lies on the clone manifold of arXiv:2510.00304: no gradient
    leads away from it. Scaled clones with outgoing weights in proportion lie on another one, of piecewise-linear units
    under plain gradient descent. Other shares preserve the function, as Net2Net does, and are on no such manifold.

    Args:
        network: its linear maps and convolutions, in the order of `network.modules()`, are one chain, each read by the
            next alone; layer or group norms may stand between. It is left as it is.
        copies: clones of each hidden unit.
        scales: (copies,), positive; default 1. Others than 1 preserve only what positively homogeneous units compute.
        shares: (copies,); default in proportion to `scales`.
        halves: numbers that an activation returns for each unit, 2 of CReLU, where a convolution is flattened; between
            maps of one kind they are counted.

    Raises:
        ValueError: factors that do not fit `copies` or change what the network computes; a norm beside scaled clones,
            which it would mix; maps that are no such chain; no hidden layer.

    >>> network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> cloned(network)
    Sequential(
      (0): Linear(in_features=3, out_features=8, bias=True)
      (1): ReLU()
      (2): Linear(in_features=8, out_features=2, bias=True)
    )
    """
    incoming, outgoing = _factors(copies, scales, shares)
    twin = copy.deepcopy(network)
    norms = [module for module in twin.modules() if isinstance(module, (nn.LayerNorm, nn.GroupNorm))]
    if norms and len({*incoming.tolist()}) > 1:
        raise ValueError("a layer norm or group norm mixes units: scaled clones would change what the network computes")
    maps = _chain(twin)
    units = [len(m.weight) for m in maps]
    for (before, after), width in zip(itertools.pairwise(maps), units, strict=False):
        _widen(before, incoming)
        flattened = isinstance(before, CONVOLUTIONS) and isinstance(after, nn.Linear)
        _split(after, outgoing, (halves if flattened else after.weight.shape[1] // width, width))
    for norm in norms:
        _widen_norm(norm, copies)
    return twin


def jittered(network: Network, size: float, rng: torch.Generator) -> Network:
    """Return a copy of `network` with Gaussian noise on every parameter, `size` times its root mean square.

    >>> network = nn.Linear(3, 4)
    >>> torch.equal(jittered(network, 0.0, torch.Generator()).weight, network.weight)
    True
    """
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in twin.parameters():
            noise = torch.randn(parameter.shape, generator=rng, dtype=torch.float64).to(parameter)
            parameter.add_(size * parameter.norm() / math.sqrt(parameter.numel()) * noise)
    return twin


def _chain(network: nn.Module) -> list[Affine]:
    """Return the linear maps and convolutions of `network`, each of which reads the one before."""
    maps: list[Affine] = [m for m in network.modules() if isinstance(m, (nn.Linear, *CONVOLUTIONS))]
    reads = [after.weight.shape[1] % len(before.weight) == 0 for before, after in itertools.pairwise(maps)]
    if not reads or not all(reads) or any(getattr(m, "groups", 1) > 1 for m in maps):
        raise ValueError("only a chain of two or more linear maps and ungrouped convolutions can be cloned")
    return maps


def _factors(copies: int, scales: Sequence[float] | None, shares: Sequence[float] | None) -> tuple[Tensor, Tensor]:
    """Return the factors of incoming and outgoing weights of each clone, (copies,) both."""
    incoming = torch.ones(copies, dtype=torch.float64) if scales is None else torch.tensor(scales, dtype=torch.float64)
    in_proportion = incoming / incoming.square().sum()
    outgoing = in_proportion if shares is None else torch.tensor(shares, dtype=torch.float64)
    if not len(incoming) == len(outgoing) == copies or not (incoming > 0).all():
        raise ValueError(f"{copies} copies take as many scales and shares, scales above 0; got {scales} and {shares}")
    if not math.isclose(total := (incoming @ outgoing).item(), 1.0, abs_tol=1e-9):
        raise ValueError(f"scales times shares add up to {total:.6g}, not 1: the network would not compute the same")
    return incoming, outgoing


def _widen(module: Affine, factors: Tensor) -> None:
    """Give `module` each of its units once for every factor, scaled by it."""
    rows = factors.repeat(len(module.weight)).to(module.weight)
    with torch.no_grad():
        weight = module.weight.repeat_interleave(len(factors), 0)
        module.weight = nn.Parameter(weight * rows.view(-1, *[1] * (weight.ndim - 1)))
        if module.bias is not None:
            module.bias = nn.Parameter(module.bias.repeat_interleave(len(factors)) * rows)
    setattr(module, "out_features" if isinstance(module, nn.Linear) else "out_channels", len(rows))


def _split(module: Affine, factors: Tensor, blocks: tuple[int, int]) -> None:
    """Let `module` read each unit before it once for every factor, its weight multiplied by it.

    Its columns are those of `blocks`, halves and in each of them units, and of each unit the places of an image.
    """
    with torch.no_grad():
        weight = module.weight
        weight = weight.reshape(len(weight), *blocks, -1, *weight.shape[2:]).repeat_interleave(len(factors), 2)
        columns = factors.repeat(blocks[1]).to(weight)
        weight *= columns.view(-1, *[1] * (weight.ndim - 3))
        module.weight = nn.Parameter(weight.flatten(1, 3))
    setattr(module, "in_features" if isinstance(module, nn.Linear) else "in_channels", module.weight.shape[1])


def _widen_norm(norm: nn.LayerNorm | nn.GroupNorm, copies: int) -> None:
    """Let a norm over units see each `copies` times: neither their mean nor their variance changes."""
    if isinstance(norm, nn.GroupNorm):
        norm.num_channels *= copies
    else:
        norm.normalized_shape = (norm.normalized_shape[0] * copies, *norm.normalized_shape[1:])
    for name, parameter in list(norm.named_parameters()):
        setattr(norm, name, nn.Parameter(parameter.detach().repeat_interleave(copies, 0)))
