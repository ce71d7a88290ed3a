"""Churn: how far what a network says of some observations moves between two looks at it."""

from __future__ import annotations

from torch import Tensor


def greedy_churn(before: Tensor, after: Tensor) -> float:
    """Return the share of observations on which the best action is another one than before.

    E_x[argmax_a f(x, a) != argmax_a f'(x, a)], arXiv:2206.00730; of equally good actions the first counts.

    Args:
        before: action values or probabilities on a reference batch, (B, A).
        after: the same at the second look.

    >>> import torch
    >>> greedy_churn(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([[0.0, 9.0], [1.0, 0.0]]))
    0.5
    """
    return (before.argmax(dim=1) != after.argmax(dim=1)).double().mean().item()


def policy_churn(before: Tensor, after: Tensor) -> float:
    """Return the mean total variation between the policy's action probabilities before and after, 0 to 1.

    E_x[1/2 sum_a |pi(a|x) - pi'(a|x)|], the difference of arXiv:2409.04792 as a distance of distributions.

    Args:
        before: action probabilities on a reference batch, (B, A).
        after: the same at the second look.

    >>> import torch
    >>> policy_churn(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    0.25
    """
    return (before.double() - after.double()).abs().sum(dim=1).mean().item() / 2


def value_churn(before: Tensor, after: Tensor) -> float:
    """Return the mean absolute change of values, in the unit of returns: E|v - v'|, arXiv:2409.04792.

    Args:
        before: state or action values on a reference batch, (B,) or (B, A).
        after: the same at the second look.

    >>> import torch
    >>> value_churn(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 1.0]))
    2.0
    """
    return (before.double() - after.double()).abs().mean().item()
