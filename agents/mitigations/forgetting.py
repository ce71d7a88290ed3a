"""What a reset leaves of the optimizer's memory of the parameters that it rewrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor
from torch.optim import Optimizer


def keep(optimizer: Optimizer, parameters: Iterable[Tensor]) -> None:
    """Leave all as it is."""


def reset_moments(optimizer: Optimizer, parameters: Iterable[Tensor]) -> None:
    """Zero what is remembered entry by entry, Adam's moments; step counts stay, so that the moments pass for old ones.

    Adam's first steps are then longer, not shorter: `OptimizerReset` says how much.
    """
    for parameter in parameters:
        for what, memory in optimizer.state.get(parameter, {}).items():
            if what != "step" and isinstance(memory, Tensor) and memory.shape == parameter.shape:
                memory.zero_()


def clear(optimizer: Optimizer, parameters: Iterable[Tensor]) -> None:
    """Forget all of these parameters, as if they had never been stepped; they stay in the optimizer."""
    for parameter in parameters:
        optimizer.state.pop(parameter, None)


def trained(optimizer: Optimizer) -> list[Tensor]:
    """Return every parameter of an optimizer."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


FORGETTING: Mapping[str, Callable[[Optimizer, Iterable[Tensor]], None]] = {
    "keep": keep,
    "reset_moments": reset_moments,
    "clear": clear,
}
