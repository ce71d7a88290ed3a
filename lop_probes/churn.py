"""Churn: how far what a network says of some observations moves between two looks at it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def moves(now: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what each head says now less what it said before, as doubles.

    Args:
        now: head to what it says of some observations, (B, O).
        before: the same of the same observations at an earlier look; heads missing here are left out.

    >>> import torch
    >>> moves({"critic": torch.tensor([[3.0]])}, {"critic": torch.tensor([[1.0]])})
    {'critic': tensor([[2.]], dtype=torch.float64)}
    """
    return {name: now[name].double() - earlier.double() for name, earlier in before.items()}
