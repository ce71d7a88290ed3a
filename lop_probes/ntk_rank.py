"""NTK rank: in how many independent ways the samples of a batch can move an output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lopgym.bounds import PositiveInt
from lopgym.probes import matrices, register
from lopgym.probes.effective_rank import effective_rank


@register(
    "ntk_rank",
    bounds=(0, float("inf")),
    cite="arXiv:1806.07572 sec. 4, the empirical kernel; Roy and Vetterli 2007, definition 2.1",
    invariant=("units", "samples", "scale"),
)
def ntk_rank(
    errors: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor],
    flow: Mapping[str, tuple[str, ...]],
    *,
    samples: PositiveInt = 256,
) -> dict[str, float]:
    """Number of independent ways in which samples can move an output, by the entropy of its tangent kernel.

    exp(-sum_i p_i ln p_i), p_i = lambda_i / sum_j lambda_j, of K = J J^T (B, B). Row b of J is the gradient, by all
    weights and biases of layers and heads, of the output in the direction in which its loss pulls, sum_a d_ba f_a(x_b)
    with d_b = dL_b/df(x_b) made of length one: of the one output, if there is one or the loss reads one, as Q(s, a). So
    K = sum_l (E_l E_l^T) * (X_l X_l^T), the errors E_l divided by the length of the head's. Between 1 and B; 0 if
    nothing can move. Compare within a run: a fresh network may rank low and learn well.

    There is one value for each head; heads that share layers are read as one, their names joined by +.

    Args:
        errors: layer or head to (B, U); of a convolution, (B * H * W, U).
        inputs: layer or head to (B, I + 1), with as many rows; layers missing here are left out.
        flow: hidden layer, or map into a residual stream, to what comes next; whatever else has errors is a head.
        samples: at most so many are read, evenly spaced: the eigenvalues cost their cube.

    >>> import torch
    >>> ntk_rank({"head": torch.tensor([[-0.1], [9.0], [0.0]])}, {"head": torch.eye(3)}, {})
    {'head': 2.0}
    """
    eigenvalues: dict[str, Tensor] = {}
    for group in _connected(errors, flow):
        heads = [name for name in errors if name in group - flow.keys()]
        layers = [(errors[name], inputs[name]) for name in errors if name in group & inputs.keys()]
        if heads and layers:
            pull = torch.cat([errors[name] for name in heads], dim=1)
            eigenvalues["+".join(heads)] = matrices.singular_values(_kernel(layers, pull, samples)).square()
    return effective_rank(eigenvalues)


def _connected(names: Iterable[str], flow: Mapping[str, tuple[str, ...]]) -> list[set[str]]:
    """Group layers and heads that feed into each other, directly or not."""
    groups: list[set[str]] = []
    for name in names:
        linked = {name, *flow.get(name, ())}
        touching = [group for group in groups if group & linked]
        groups = [group for group in groups if not group & linked] + [linked.union(*touching)]
    return groups


def _kernel(layers: Sequence[tuple[Tensor, Tensor]], pull: Tensor, samples: int) -> Tensor:
    """Return the kernel (n, n) of at most so many samples, from errors and inputs of layers and from `pull`, (B, A)."""
    rows = torch.arange(0, len(pull), -(-len(pull) // samples), device=pull.device)
    lengths = torch.linalg.vector_norm(pull[rows], dim=1, dtype=torch.float64)
    shares = torch.where(lengths > 0, 1 / lengths, 0.0)[:, None, None]
    places = [[part.reshape(len(pull), -1, part.shape[1])[rows].double() for part in layer] for layer in layers]
    return torch.stack([_share(e * shares, x) for e, x in places]).sum(dim=0)


def _share(e: Tensor, x: Tensor) -> Tensor:
    """Return one layer's share of the kernel, from errors and inputs (n, places, ...)."""
    if e.shape[1] == 1:
        return matrices.gram(e[:, 0].T) * matrices.gram(x[:, 0].T)
    return matrices.gram((e.mT @ x).flatten(1).T)  # a convolution's gradient sums over places
