"""Local: what hidden layers do to one number at a time, from their activation modules alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import torch

from lopgym.probes.recording import Layers
from lopgym.probes.shared import Tensors
from lopgym.probes.slopes import bends, output_slopes, slopes


class Local(ABC):
    """Requests about the activation functions, at the pre-activations."""

    _layers: Layers

    @property
    @abstractmethod
    def inputs(self) -> Tensors:
        """What each affine map is given, (B, I + 1)."""

    @property
    @abstractmethod
    def weights(self) -> Tensors:
        """Each layer's weights beside its biases, (U, I + 1)."""

    @property
    @abstractmethod
    def pre_activations(self) -> Tensors:
        """What each hidden layer's activation module is given, z, (B, U)."""

    @cached_property
    def derivatives(self) -> Tensors:
        """Slope f'(z) of each hidden layer's activation, element by element, (B, U); see `slopes` for CReLU."""
        return {name: slopes(self._layers[name][1], z) for name, z in self.pre_activations.items()}

    @cached_property
    def output_derivatives(self) -> Tensors:
        """Slope f'(z) of every number that each hidden layer's activation returns, signed, shaped like `activations`.

        It is `derivatives`, but for activations such as CReLU, whose halves it tells apart.
        """
        return {name: output_slopes(self._layers[name][1], z) for name, z in self.pre_activations.items()}

    @cached_property
    def curvatures(self) -> Tensors:
        """Second derivative f''(z) of every number that each activation returns, shaped like `activations`."""
        return {name: bends(self._layers[name][1], z) for name, z in self.pre_activations.items()}

    @cached_property
    def direct(self) -> tuple[str, ...]:
        """The hidden layers whose activation is given what the affine map returns: no norm stands in between."""
        returned = {name: x @ self.weights[name].T for name, x in self.inputs.items() if name in self._layers}
        return tuple(
            name
            for name, z in returned.items()
            if torch.allclose(z, self.pre_activations[name], rtol=1e-3, atol=1e-4 * z.abs().amax().item())
        )
