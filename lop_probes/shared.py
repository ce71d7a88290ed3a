"""Shared: what follows from other requests alone, and is worked out once for all probes that read it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

from torch import Tensor

from lopgym.probes import averages, matrices, normality

Tensors = dict[str, Tensor]  # name of a hidden layer or head -> its matrix


class Shared(ABC):
    """Requests that need no look at the network: its activations and weights say it all."""

    @property
    @abstractmethod
    def activations(self) -> Tensors:
        """What each hidden layer's activation module returns, (B, U)."""

    @property
    @abstractmethod
    def pre_activations(self) -> Tensors:
        """What each hidden layer's activation module is given, (B, U)."""

    @property
    @abstractmethod
    def kernels(self) -> Tensors:
        """Each layer's and head's weights without biases, (U, I)."""

    @cached_property
    def kernel_singular_values(self) -> Tensors:
        """Singular values of each layer's and head's weights without biases, (min(U, I),), falling."""
        return {name: matrices.singular_values(matrices.smaller_gram(w)) for name, w in self.kernels.items()}

    @cached_property
    def order_statistics(self) -> Tensors:
        """Pre-activations of each layer's units that vary, standardised, each unit's in rising order, (U', n)."""
        return {name: normality.order_statistics(z) for name, z in self.pre_activations.items()}

    @cached_property
    def grams(self) -> Tensors:
        """Inner products between the units of each layer, (U, U), as doubles."""
        return {name: matrices.gram(a) for name, a in self.activations.items()}

    @cached_property
    def singular_values(self) -> Tensors:
        """Singular values of each layer's activations, (min(B, U),), falling."""
        smaller = {
            name: self.grams[name] if a.shape[1] <= len(a) else matrices.gram(a.T)
            for name, a in self.activations.items()
        }
        return {name: matrices.singular_values(gram) for name, gram in smaller.items()}

    @cached_property
    def covariances(self) -> Tensors:
        """Covariances between the units of each layer, over B samples, (U, U); 0 for constant units."""
        return {
            name: matrices.covariances(self.grams[name], averages.means(a), len(a))
            for name, a in self.activations.items()
        }

    @cached_property
    def correlations(self) -> Tensors:
        """Pearson correlations between the units of each layer, (U, U)."""
        return {name: matrices.cosines(covariances) for name, covariances in self.covariances.items()}

    @cached_property
    def cosines(self) -> Tensors:
        """Cosines between the units of each layer, uncentred, (U, U)."""
        return {name: matrices.cosines(gram) for name, gram in self.grams.items()}
