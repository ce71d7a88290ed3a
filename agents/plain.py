"""Plain: trees with tensors told as trees of plain data and arrays, which any store can keep, and told back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TENSOR, DEVICE = "tensor", "device"  # the keys, and the only ones, of a dict that stands for a tensor


def plain(tree: Any, where: str = "state") -> Any:
    """Return a copy of a tree in which every tensor is a dict of an array and the name of its device.

    Numbers of NumPy become Python's, which hold the same values, and mappings become dicts.

    Args:
        tree: nested mappings, lists and tuples; at the leaves None, booleans, numbers, strings, arrays and tensors.
            Keys are strings or integers.
        where: the path to the tree, for messages.

    Raises:
        TypeError: something else is in it, such as a tensor of a type that NumPy has not (bfloat16).

    >>> plain({"weight": torch.ones(2), "steps": np.int64(3)})
    {'weight': {'tensor': array([1., 1.], dtype=float32), 'device': 'cpu'}, 'steps': 3}
    """
    if isinstance(tree, Tensor):
        return {TENSOR: _array(tree, where), DEVICE: str(tree.device)}
    if isinstance(tree, np.ndarray) and not tree.dtype.hasobject:
        return tree.copy(order="K")
    if isinstance(tree, Mapping):
        return {key: plain(value, f"{where}/{key}") for key, value in _told_apart(tree, where).items()}
    if isinstance(tree, list | tuple):
        return type(tree)(plain(value, f"{where}/{index}") for index, value in enumerate(tree))
    if isinstance(tree, np.bool_ | np.integer | np.float16 | np.float32 | np.float64):
        return tree.item()
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(f"{where}: {_kind(tree)} cannot be kept: only plain data, arrays and tensors can")


def live(tree: Any, device: str | None = None) -> Any:
    """Return a copy of what `plain` returned, its tensors alive again.

    Args:
        tree: what `plain` returned.
        device: where tensors go that were not on the CPU; None: where they were.

    Raises:
        RuntimeError: a tensor was on a device that is not there.

    >>> live(plain({"weight": torch.ones(2)}))
    {'weight': tensor([1., 1.])}
    """
    if isinstance(tree, dict) and tree.keys() == {TENSOR, DEVICE}:
        tensor = torch.from_numpy(tree[TENSOR].copy(order="K"))
        return tensor if tree[DEVICE] == "cpu" else tensor.to(device or tree[DEVICE])
    if isinstance(tree, dict):
        return {key: live(value, device) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(live(value, device) for value in tree)
    return tree.copy(order="K") if isinstance(tree, np.ndarray) else tree


def _array(tensor: Tensor, where: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = tensor.detach().cpu().resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError):
        kind = f"{tensor.dtype} in the layout {tensor.layout}"
        raise TypeError(f"{where}: a tensor of {kind} cannot be kept: NumPy has no such array") from None
    return array.copy(order="K")


def _told_apart(tree: Mapping[Any, Any], where: str) -> Mapping[str | int, Any]:
    """Refuse keys that could not be told back, and a dict that would come back as a tensor."""
    for key in tree:
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise TypeError(f"{where}: the key {key!r} cannot be kept: keys are strings or integers")
    if tree.keys() == {TENSOR, DEVICE}:
        raise TypeError(f"{where}: the keys {TENSOR!r} and {DEVICE!r} alone stand for a tensor: name one otherwise")
    return tree


def _kind(value: Any) -> str:
    return "an array of objects" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
