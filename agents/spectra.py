"""Spectra of the hidden layers of a Stable-Baselines3 model in training, one look after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lopgym.agents.anatomy import anatomy_of
from lopgym.agents.looking import Looking, Write
from lopgym.agents.measuring import Measuring
from lopgym.bounds import NonNegativeInt, PositiveInt
from lopgym.seeding import derive

Spectra = Mapping[str, Mapping[str, list[float]]]  # layer -> what -> singular values, falling


class SpectraProbe(Looking):
    """Takes the singular values of every hidden layer now and then, as a callback that changes nothing.

    Of `activations`, uncentred (B, U), as `effective_rank` reads them, and of `weights`, as `weight_stable_rank` does.

    Args:
        every: env steps over all copies between two looks; 0 is never.
        samples: observations in the batch of each look, B.
        keep: takes (env step, spectra).
        write: takes (env step, values): what it costs.
        seed: of the batches.
    """

    def __init__(
        self,
        *,
        every: NonNegativeInt,
        samples: PositiveInt = 256,
        keep: Callable[[int, Spectra], None],
        write: Write = lambda step, values: None,
        seed: int = 0,
    ) -> None:
        """Keep the options."""
        super().__init__("spectra", every, write)
        self.samples, self.keep, self.seed = samples, keep, seed

    def state_dict(self) -> dict[str, Any]:
        """Return when the next look is, and where the stream of batches is."""
        return super().state_dict() | {"measuring": self._measuring.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned, once training has begun."""
        super().load_state_dict(state)
        self._measuring.load_state_dict(state["measuring"])

    def _on_training_start(self) -> None:
        super()._on_training_start()
        anatomy = anatomy_of(self.model)
        self._measuring = Measuring(anatomy, {}, seed=derive(self.seed, "spectra"), samples=self.samples)

    def look(self, step: int) -> Mapping[str, float]:
        """Decompose what each layer says of one batch, and its weights; no scalars come of it."""
        captures = self._measuring.captures(step)
        spectra = {
            layer: {
                "activations": sigma.tolist(),
                "weights": captures.kernel_singular_values[layer].tolist(),
            }
            for layer, sigma in captures.singular_values.items()
        }
        self.keep(step, spectra)
        return {}
