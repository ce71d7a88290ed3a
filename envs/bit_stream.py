"""Streams of bits, of which slow ones flip one by one, and the threshold units that see them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs.painting import GOOD, INK, PAPER, WARM, Image, board
from lopgym.envs.variants import MAX_INDEX, variants
from lopgym.envs.world import BatchedWorld, Mask
from lopgym.physics import Physics, param
from lopgym.seeding import generator

_BLOCK = 4096  # flips drawn together
GRAIN = 2.0**-20
_FAST = np.array([136, 138, 133], dtype=np.uint8)
_MOST_FLIPS = 10_000_000  # a walk has to be walked: a tenth of a second to the last one


@dataclass(frozen=True, eq=False)
class BitFlipPhysics(Physics):
    """What can drift."""

    flips: int = param(0, low=0, high=_MOST_FLIPS, unit="flips", doc="how many flips of a slow bit there have been")
    target: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random target network")


class BatchedBits(BatchedWorld):
    """Bits, slow and fast, and the threshold units that see them; a subclass says what is to be answered."""

    physics_type = BitFlipPhysics
    kept = ("_seen",)
    flips: Any
    target: Any

    def __init__(
        self,
        num_envs: int,
        render_mode: str | None,
        action: gym.Space[Any],
        *,
        bits: int,
        slow_bits: int,
        units: int,
        beta: float,
        world_seed: int,
    ) -> None:
        """Draw the target network and where the slow bits start.

        Raises:
            ValueError: there are more slow bits than bits.
        """
        if slow_bits > bits:
            raise ValueError(f"slow_bits={slow_bits} must be at most bits={bits}")
        self._bits, self._slow, self._units, self._beta = bits, slow_bits, units, beta
        self._world_seed, self._copies = world_seed, np.arange(num_envs)
        self._walk = _Walk(world_seed, slow_bits)
        self._seen = np.zeros((num_envs, bits), dtype=np.float32)
        super().__init__(num_envs, render_mode, gym.spaces.Box(0.0, 1.0, (bits,), np.float32), action)

    def _draw_outgoing(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return the weights from the units to the outputs, shape (units, outputs).

        They are whole multiples of `GRAIN`, so that sums of them are exact: else they would depend on the order of
        adding, and that on the number of copies.
        """
        raise NotImplementedError

    def _write_physics(self) -> None:
        super()._write_physics()
        states, which = variants(self.flips, self._walk.state)
        self._state = states[which]
        self._networks, self._network = variants(self.target, self._draw_network)

    def _draw_network(self, target: int) -> NDArray[np.float64]:
        """Return signs of the incoming weights, then the outgoing ones: shape (units, bits + 1 + outputs)."""
        rng = generator(self._world_seed, "target", target)
        signs = rng.choice([-1.0, 1.0], size=(self._units, self._bits + 1))
        return np.concatenate((signs, self._draw_outgoing(rng)), axis=1)

    def _outputs(self) -> NDArray[np.float64]:
        """Return what the target network answers to what is seen, shape (N, outputs)."""
        answers = [_answer(network, self._seen, self._beta) for network in self._networks]
        return np.stack(answers)[self._network, self._copies]

    def _draw_input(self) -> NDArray[np.float32]:
        word = self._stream.words(self.count)[:, None] >> np.arange(self._bits, dtype=np.uint64)
        drawn = (word & np.uint64(1)).astype(np.float32)
        drawn[:, : self._slow] = self._state
        return drawn

    def _begin(self, mask: Mask) -> None:
        self._seen = np.where(mask[:, None], self._draw_input(), self._seen)

    def _observe(self) -> NDArray[np.float32]:
        return self._seen.copy()

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        reward = self._reward(np.asarray(actions))
        self._seen = self._draw_input()
        return reward, np.ones(self.num_envs, dtype=np.bool_)

    def _reward(self, actions: NDArray[Any]) -> NDArray[np.float64]:
        """Return what the answers to what is seen earn, shape (N,)."""
        raise NotImplementedError

    def _paint(self, copy: int) -> Image:
        """The bits row by row, slow ones and fast ones in two colours; below them the outputs above and below 0."""
        outputs = self._outputs()[copy]
        side = max(math.isqrt(self._bits - 1) + 1, len(outputs))
        rows = -(-self._bits // side)
        image = board(rows + 2, side)
        cells = image.reshape(-1, 3)
        on = self._seen[copy] > 0
        cells[: self._bits][on] = np.where(np.arange(self._bits)[on, None] < self._slow, INK, _FAST)
        image[rows] = PAPER
        image[-1, : len(outputs)] = np.where(outputs[:, None] > 0, GOOD, WARM)
        return image


class _Walk:
    """Where the slow bits are after each number of flips: a function of that number, its sums kept in blocks."""

    def __init__(self, world_seed: int, slow_bits: int) -> None:
        self._seed, self._slow = world_seed, slow_bits
        start = generator(world_seed, "slow bits").integers(2, size=slow_bits)
        self._before = [start]  # parities before each block

    def state(self, flips: int) -> NDArray[np.int64]:
        """Return the slow bits after so many flips, shape (slow_bits,)."""
        block, rest = divmod(flips, _BLOCK)
        while len(self._before) <= block:
            self._before.append(self._after(self._before[-1], self._chosen(len(self._before) - 1)))
        return self._after(self._before[block], self._chosen(block)[:rest])

    def _chosen(self, block: int) -> NDArray[np.int64]:
        return generator(self._seed, "flips", block).integers(self._slow, size=_BLOCK)

    def _after(self, bits: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        return (bits + np.bincount(chosen, minlength=self._slow)) % 2


def _answer(network: NDArray[np.float64], bits: NDArray[np.float32], beta: float) -> NDArray[np.float64]:
    """Return the outputs, shape (N, outputs), of one network.

    A unit with input weights w (each -1 or 1, the last for an input that is always 1) fires if w x > (m + 1) beta - S,
    where S is the number of its negative weights: if more than a share `beta` of its inputs are as it wants them.
    """
    inputs = bits.shape[1] + 1
    signs, outgoing = network[:, :inputs], network[:, inputs:]
    sums = bits.astype(np.float64) @ signs[:, :-1].T + signs[:, -1]
    fires = sums > inputs * beta - (signs < 0).sum(axis=1)
    answer: NDArray[np.float64] = fires.astype(np.float64) @ outgoing
    return answer
