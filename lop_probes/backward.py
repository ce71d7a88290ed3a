"""Backward: what a loss asks of every unit and every weight, from one backward pass that leaves no trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lopgym.probes.arranged import parameters
from lopgym.probes.matrices import apart, beside
from lopgym.probes.notes import Notes, noted
from lopgym.probes.recording import Layers, Recorded, evaluated, noting_input, units_last

Direction = Mapping[str, Tensor]  # layer or head -> (U, I + 1)


@dataclass(frozen=True)
class Backward:
    """Derivatives of the sum of the samples' losses, each by a pass of its own; what the loss does not run is missing.

    Args:
        notes: `input` and `output` of each activation module, and what each affine map returned, as `affine`.
        layers: name to affine map and activation module of hidden layers.
        affines: name to affine map of hidden layers and heads.
        total: the sum of the losses.
    """

    notes: Notes
    layers: Layers
    affines: Mapping[str, nn.Module]
    total: Tensor

    @cached_property
    def recorded(self) -> Recorded:
        """What went into and what came out of each activation module."""
        return Recorded(self.notes, self.layers)

    @cached_property
    def signals(self) -> dict[str, Tensor]:
        """Hidden layer -> by its activations, (B, U)."""
        h = self.notes.of("output")
        found = _gradients(self.total, [*h.values()], retain_graph=True)
        return {name: units_last(g, self.layers[name][0]) for name, g in zip(h, found, strict=True)}

    @cached_property
    def errors(self) -> dict[str, Tensor]:
        """Hidden layer or head -> by what its affine map returns, (B, U)."""
        z = self.notes.of("affine")
        found = _gradients(self.total, [*z.values()], retain_graph=True)
        return {name: units_last(g, self.affines[name]) for name, g in zip(z, found, strict=True)}

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """Layer or head -> by its weights and biases, (U, I + 1); those that are frozen are left out."""
        trained = _trained(self.affines)
        found = iter(_gradients(self.total, [p for own in trained.values() for p in own], retain_graph=True))
        return {name: beside([next(found) for _ in own]) for name, own in trained.items()}


def backward(
    network: nn.Module, layers: Layers, affines: Mapping[str, nn.Module], losses: Callable[[], Tensor]
) -> Backward:
    """Call `losses`, which runs `network`, and be ready to go back from their sum. Parameters store no gradient.

    Args:
        network: is left as it was.
        layers: name to affine map and activation module of hidden layers.
        affines: name to affine map of hidden layers and heads.
        losses: runs `network` and returns (B,), twice if modules work in place; of a module that runs several times
            with autograd on, the last counts.
    """
    totals: list[Tensor] = []

    def run(notes: Notes) -> None:
        with ExitStack() as hooks, evaluated(network), torch.enable_grad():
            for name, (_, activation) in layers.items():
                hooks.callback(activation.register_forward_pre_hook(noting_input(notes, name)).remove)
                hooks.callback(activation.register_forward_hook(_noting(notes, "output", name)).remove)
            for name, affine in affines.items():
                hooks.callback(affine.register_forward_hook(_noting(notes, "affine", name)).remove)
            totals.append(losses().sum())

    notes = noted(run)
    return Backward(notes, layers, affines, totals[-1])


def hessian_vector_product(
    network: nn.Module, affines: Mapping[str, nn.Module], losses: Callable[[], Tensor]
) -> Callable[[Direction], dict[str, Tensor]]:
    """Return the Hessian of the mean of `losses` by weights and biases, as a map of directions to directions.

    It differentiates the gradient along a direction once more (Pearlmutter 1994, doi:10.1162/neco.1994.6.1.147), so a
    product costs about two backward passes. Layers that a direction leaves out do not move; frozen ones are left out.

    Args:
        network: is left as it was; while products are asked for, its parameters must not change.
        affines: name to affine map.
        losses: runs `network` and returns (B,).
    """
    trained = _trained(affines)
    moved = [p for own in trained.values() for p in own]
    with evaluated(network), torch.enable_grad():
        gradients = _gradients(losses().mean(), moved, create_graph=True)

    def product(direction: Direction) -> dict[str, Tensor]:
        parts = [
            part.to(own[0])
            for name, own in trained.items()
            for part in (apart(direction[name], own) if name in direction else [torch.zeros_like(p) for p in own])
        ]
        with torch.enable_grad():
            along = torch.stack([(g * v).sum() for g, v in zip(gradients, parts, strict=True)]).sum()
            found = iter(_gradients(along, moved, retain_graph=True))
        return {name: beside([next(found) for _ in own]) for name, own in trained.items()}

    return product


def _trained(affines: Mapping[str, nn.Module]) -> dict[str, list[Tensor]]:
    """Return the parameters of each map whose parameters all take gradients."""
    found = {name: parameters(module) for name, module in affines.items()}
    return {name: own for name, own in found.items() if all(p.requires_grad for p in own)}


def _gradients(value: Tensor, by: Sequence[Tensor], **options: Any) -> Sequence[Tensor]:
    """Differentiate; what `value` does not depend on has the derivative 0."""
    if not (by and value.requires_grad):
        return [torch.zeros_like(tensor) for tensor in by]
    found: Sequence[Tensor] = torch.autograd.grad(value, by, allow_unused=True, materialize_grads=True, **options)
    return found


def _noting(notes: Notes, what: str, name: str) -> Callable[..., Tensor]:
    """Return a hook that notes what a module returns."""

    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        if not torch.is_grad_enabled():  # a target, computed on the way by the same network
            return output
        if output.requires_grad:
            return notes.note(what, name, output)
        return notes.note(what, name, output.detach().requires_grad_()).clone()  # a leaf must not be overwritten

    return hook
