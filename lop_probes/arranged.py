"""Arranging: parameters, and what belongs to them by name, as one matrix a layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from lopgym.probes.matrices import beside


def parameters(module: nn.Module) -> list[Tensor]:
    """Return weight and, if there is one, bias of an affine module."""
    return [p for p in (module.weight, getattr(module, "bias", None)) if isinstance(p, Tensor)]


def arranged(network: nn.Module, affines: Mapping[str, nn.Module], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrange `values`, known by parameter name of `network`, as matrices (U, I + 1); leave incomplete layers out."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found: dict[str, Tensor] = {}
    for layer, module in affines.items():
        own = [names.get(id(parameter), "") for parameter in parameters(module)]
        parts = [values[name] for name in own if name in values]
        if len(parts) == len(own):
            found[layer] = beside(parts)
    return found


def chained(layers: Iterable[str], heads: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Name what reads each layer if they run in this order, the heads in the end.

    >>> chained(["first", "second"], ["policy", "value"])
    {'first': ('second',), 'second': ('policy', 'value')}
    """
    names = list(layers)
    return dict(zip(names, [*((name,) for name in names[1:]), tuple(heads)], strict=False))
