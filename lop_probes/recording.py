"""Recording: run a network once, unnoticed, and keep what its layers were given and what they said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lopgym.probes.notes import Notes, noted

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
Layers = Mapping[str, tuple[nn.Module, nn.Module]]  # name -> affine map, activation


@contextmanager
def evaluated(network: nn.Module) -> Iterator[None]:
    """Let `network` be evaluated inside, with autograd or without: no dropout, no random number used up."""
    training = [module for module in network.modules() if module.training]
    devices = {p.device for p in network.parameters() if p.is_cuda} if _on_gpu() else ()
    with torch.random.fork_rng(devices=devices):
        try:
            for module in training:  # the attribute, not `eval()`: a module may override that to do more
                module.training = False
            yield
        finally:
            for module in training:
                module.training = True


def _on_gpu() -> bool:
    """Tell whether anything can be on a GPU: to ask every parameter takes longer than a small network's layer."""
    return torch.cuda.is_initialized()  # type: ignore[no-untyped-call, no-any-return]  # torch's


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Let `network` be evaluated inside without a trace: no dropout, no autograd, no random number used up."""
    with torch.no_grad(), evaluated(network):
        yield


@contextmanager
def swapped(network: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Let `network` hold other parameters and buffers inside, by name; afterwards the very memory it held before."""
    own = dict(network.named_parameters()) | dict(network.named_buffers())
    held = {name: own[name].data for name in own.keys() & values.keys()}
    try:
        for name, data in held.items():
            own[name].data = values[name].detach().to(data)
        yield
    finally:
        for name, data in held.items():
            own[name].data = data


@dataclass(frozen=True)
class Recorded:
    """What went into and what came out of activation modules, (B, U); of convolutions, (B * H * W, C).

    It is laid out when it is first asked for: of images that takes a copy.

    Args:
        notes: with `input` and `output` of each module.
        layers: name to affine map and activation module.
    """

    notes: Notes
    layers: Layers

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """Layer to what its activation module was given."""
        return self._laid_out("input")

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        """Layer to what its activation module returned."""
        return self._laid_out("output")

    def _laid_out(self, what: str) -> dict[str, Tensor]:
        return {name: units_last(values, self.layers[name][0]) for name, values in self.notes.of(what).items()}


def record(network: nn.Module, layers: Layers, evaluate: Callable[[], Any]) -> Recorded:
    """Call `evaluate`, which runs `network`, and return what goes into and what comes out of each activation module.

    Args:
        network: is left as it was.
        layers: name to affine map and activation module.
        evaluate: runs `network`, twice if its modules work in place.

    Returns:
        Inputs and outputs by layer; a layer that did not run is missing.
    """

    def run(notes: Notes) -> None:
        with ExitStack() as hooks, undisturbed(network):
            for name, (_, activation) in layers.items():
                hooks.callback(activation.register_forward_pre_hook(noting_input(notes, name)).remove)
                hooks.callback(activation.register_forward_hook(_noting_output(notes, name)).remove)
            evaluate()

    return Recorded(noted(run), layers)


def record_inputs(
    network: nn.Module, affines: Mapping[str, nn.Module], evaluate: Callable[[], Any]
) -> dict[str, Tensor]:
    """Call `evaluate`, which runs `network`, and return what each affine map is given, as it is given: (B, ..., I).

    Args:
        network: is left as it was.
        affines: name to affine map.
        evaluate: runs `network`, twice if its modules work in place.

    Returns:
        Inputs by name; of convolutions, images (B, I, ...). A map that did not run is missing.
    """

    def run(notes: Notes) -> None:
        with ExitStack() as hooks, undisturbed(network):
            for name, affine in affines.items():
                hooks.callback(affine.register_forward_pre_hook(noting_input(notes, name)).remove)
            evaluate()

    return {name: values.detach() for name, values in noted(run).of("input").items()}


def channels_last(observations: Tensor) -> Tensor:
    """Lay out images (B, C, H, W) in memory pixel by pixel, the channels side by side; other observations stay.

    Convolutions answer in kind, so that `units_last` need not copy what they say, and on CPUs they are faster at it.
    """
    return observations.contiguous(memory_format=torch.channels_last) if observations.ndim == 4 else observations


def units_last(values: Tensor, incoming: nn.Module) -> Tensor:
    """Lay out `values` as a matrix with a column for each unit of `incoming`: (B, U); places of an image are rows."""
    if isinstance(incoming, CONVOLUTIONS):
        values = values.movedim(1, -1)
    return values.detach().reshape(-1, values.shape[-1])


def noting_input(notes: Notes, name: str) -> Callable[..., tuple[Any, ...]]:
    """Return a hook, for before a module runs, that notes what it is given as `input`."""

    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return notes.note("input", name, inputs[0]), *inputs[1:]

    return hook


def _noting_output(notes: Notes, name: str) -> Callable[..., Tensor]:
    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        return notes.note("output", name, output)

    return hook
