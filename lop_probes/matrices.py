"""Matrices: what several probes need of one layer, nearly all of it from one Gram matrix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lopgym.probes.averages import some_rows

BLOCK = 64  # units: what lies above the diagonal is copied from below, which saves a third of the work
CONSTANT = 1e-6  # relative spread below which a unit is constant: about 10 roundings in single precision


def beside(parts: Sequence[Tensor]) -> Tensor:
    """Lay weight (U, ...) and bias (U,), or just a weight, side by side: (U, I + 1) or (U, I), copied.

    >>> beside([torch.tensor([[1.0, 2.0]]), torch.tensor([3.0])])
    tensor([[1., 2., 3.]])
    """
    return torch.cat([part.detach().flatten(1) if part.ndim > 1 else part.detach()[:, None] for part in parts], dim=1)


def apart(matrix: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Take apart what `beside` laid side by side: a part shaped like each of `like`.

    >>> apart(torch.tensor([[1.0, 2.0, 3.0]]), [torch.zeros(1, 2), torch.zeros(1)])
    [tensor([[1., 2.]]), tensor([3.])]
    """
    blocks = torch.split_with_sizes(matrix, [part[0].numel() for part in like], dim=1)
    return [block.reshape(part.shape) for block, part in zip(blocks, like, strict=True)]


def gram(columns: Tensor) -> Tensor:
    """Return all inner products of the columns of (B, U), as doubles (U, U).

    >>> gram(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    tensor([[1., 2.],
            [2., 5.]], dtype=torch.float64)
    """
    units = columns.shape[1]
    found = torch.zeros(units, units, dtype=torch.float64, device=columns.device)
    rows = some_rows(units)
    for top in range(0, len(columns), rows):
        wide = columns[top : top + rows].double()
        for first in range(0, units, BLOCK):
            last = first + BLOCK
            found[first:last, :last].addmm_(wide[:, first:last].T, wide[:, :last])
    return found.tril_().add_(found.tril(-1).T)


def smaller_gram(matrix: Tensor) -> Tensor:
    """Return the smaller of W^T W and W W^T, which have the same eigenvalues but for zeros: (n, n), n = min(U, I).

    >>> smaller_gram(torch.tensor([[3.0, 0.0, 4.0]]))
    tensor([[25.]], dtype=torch.float64)
    """
    return gram(matrix if matrix.shape[1] <= len(matrix) else matrix.T)


def singular_values(gram: Tensor) -> Tensor:
    """Return the singular values of a matrix from its Gram matrix (n, n), falling, (n,); NaN if it is not finite.

    Several times faster than a decomposition of the matrix itself. Values below about sqrt(n) * 1e-8 of the largest,
    where in single precision the rounding of the activations begins, cannot be told from 0 and are 0.

    >>> singular_values(torch.tensor([[9.0, 0.0], [0.0, 16.0]], dtype=torch.float64))
    tensor([4., 3.], dtype=torch.float64)
    """
    if not gram.diagonal().isfinite().all():  # the rest is no larger
        return torch.full_like(gram[0], torch.nan)
    squares: Tensor = torch.linalg.eigvalsh(gram).flip(0)
    noise = squares[0] * len(squares) * torch.finfo(torch.float64).eps
    return squares.where(squares > noise, 0.0).sqrt()


def cosines(gram: Tensor) -> Tensor:
    """Return the cosines between columns from their Gram matrix (U, U). Zero columns are at right angles to all.

    >>> cosines(torch.tensor([[4.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]))
    tensor([[1.0000, 0.5000, 0.0000],
            [0.5000, 1.0000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    lengths = gram.diagonal().sqrt()
    shares = torch.where(lengths > 0, 1 / lengths, 0.0)
    return (gram * shares).mul_(shares[:, None]).clamp_(-1.0, 1.0)


def covariances(gram: Tensor, means: Tensor, samples: int) -> Tensor:
    """Return the covariances between columns, over n samples, from their Gram matrix. Constant columns have 0.

    A column whose standard deviation is at most `CONSTANT` times its root mean square is constant: what is left of it
    without its mean is rounding, not signal.

    Args:
        gram: (U, U).
        means: of each column, (U,).
        samples: number of rows B.

    >>> columns = torch.tensor([[1.0, 3.0, 5.0], [2.0, 2.0, 5.0]])
    >>> covariances(gram(columns), columns.double().mean(dim=0), samples=2)
    tensor([[ 0.2500, -0.2500,  0.0000],
            [-0.2500,  0.2500,  0.0000],
            [ 0.0000,  0.0000,  0.0000]], dtype=torch.float64)
    """
    centred = torch.addr(gram, means, means, alpha=-samples)
    spread = centred.diagonal() > CONSTANT**2 * gram.diagonal()
    return centred.mul_(spread * spread[:, None]).div_(samples)
