"""Random MDP: a small world without any structure, whose optimum is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from lopgym.bounds import PositiveInt
from lopgym.envs import environments
from lopgym.envs.bellman import optimum, policy_value
from lopgym.envs.gaussian import gaussian
from lopgym.envs.painting import INK, PAPER, Image, rainbow
from lopgym.envs.variants import MAX_INDEX, variants
from lopgym.envs.world import BatchedWorld, Mask, Step
from lopgym.physics import Physics, Value, param
from lopgym.seeding import generator

Array = NDArray[np.float64]
_NEXT, _NOISE, _START = 0, 1, 3  # which draw of a moment is for what; noise takes two


@dataclass(frozen=True, eq=False)
class RandomMDPPhysics(Physics):
    """What can drift."""

    transitions: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random table of transitions")
    rewards: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random table of mean rewards")
    reward_deviation: float = param(
        0.1, low=0.0, high=10.0, unit="1", doc="standard deviation of a reward around its mean"
    )


@environments.register(
    "random_mdp",
    id="RandomMDP-v0",
    max_episode_steps=100,
    drifts={"transitions": {"kind": "count", "period": 8192}, "rewards": {"kind": "count", "period": 8192}},
)
class BatchedRandomMDP(BatchedWorld):
    """Earn in a random table of states and actions, drawn again for every task; its optimum is known exactly.

    ## Description
    A Garnet problem (Archibald, McKinnon and Thomas 1995, doi:10.1057/jors.1995.50): from every state, every action
    leads to one of `branching` random states, with the probabilities that uniform cuts of [0, 1] leave, and has a mean
    reward from N(0, 1). Nothing carries over from one table to the next. As the tables are small, the optimum is
    computed, not estimated, and the info of every step tells the experimenter the exact regret: `regret` is
    V*(s) - Q*(s, a), at least 0, what is lost for good by a if all that follows is optimal; `episode_regret` is the sum
    over the episode so far, this step included.

    Q* is of the tables that are in force in the step, as if they stayed for ever, at `discount`. The action is the one
    that reaches the world and the rewards are the world's own: layers that change either are not in it. The expected
    sum of discounted regrets of a life in one table is V* - V of its policy. `optimal_values()` is Q*,
    `policy_values(policy)` V of any policy and `regret(actions)` what would be told of these actions: methods of
    `env.unwrapped` of the batch, of `env.unwrapped.batch` of the single environment.

    ## Action Space
    `Discrete(actions)`.

    ## Observation Space
    `Box(0, 1, (states,), float32)`: 1 at the state, else 0.

    ## Rewards
    The mean reward of state and action, and normal noise with standard deviation `reward_deviation`.

    ## Starting State
    A state, uniform.

    ## Episode End
    Truncation after 100 steps; there is no termination, so the value of the last state is to be bootstrapped.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `transitions` | index | `count`, `period` 8192 |
    | `rewards` | index | `count`, `period` 8192 |
    | `reward_deviation` | 1 | none |

    The tables are functions of `world_seed` and of the index.

    ## Arguments
    `states` (10), `actions` (4) and `branching` (3, at most `states`): the sizes. `discount` (0.95, below 1): that of
    the optimum. `world_seed` (0): the tables. None of them can change at run time.

    ## Version History
    * v0: first version.
    """

    physics_type = RandomMDPPhysics
    kept = ("_state", "_lost")
    transitions: Any
    rewards: Any
    reward_deviation: Any
    _optimal: Array | None  # Q* of the K different tables in use, shape (K, states, actions)

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        states: PositiveInt = 10,
        actions: PositiveInt = 4,
        branching: PositiveInt = 3,
        discount: Annotated[float, Interval(ge=0, lt=1)] = 0.95,
        world_seed: int = 0,
    ) -> None:
        """Draw the first tables.

        Raises:
            ValueError: there are fewer states than branches.
        """
        if branching > states:
            raise ValueError(f"branching={branching} must be at most states={states}")
        self._states, self._actions, self._branching = states, actions, branching
        self._discount, self._world_seed = discount, world_seed
        self._state, self._copies = np.zeros(num_envs, dtype=np.int64), np.arange(num_envs)
        self._lost = np.zeros(num_envs)  # in the episode, shape (N,)
        observation = gym.spaces.Box(0.0, 1.0, (states,), np.float32)
        super().__init__(num_envs, render_mode, observation, gym.spaces.Discrete(actions))
        self._draw_tables()

    def set_physics(self, **changes: Value) -> None:
        """Change parameters; tables are drawn anew only if they are others, because that takes long."""
        super().set_physics(**changes)
        if changes.keys() & {"transitions", "rewards"}:
            self._draw_tables()

    def step(self, actions: NDArray[Any]) -> Step:
        """Step every copy; the info has `regret` and `episode_regret`, shape (N,) each."""
        regret = self.regret(actions)
        observation, reward, terminated, truncated, info = super().step(actions)
        self._lost = self._lost + regret
        told = np.ones(self.num_envs, dtype=np.bool_)
        info |= {"regret": regret, "_regret": told, "episode_regret": self._lost, "_episode_regret": told}
        return observation, reward, terminated, truncated, info

    def optimal_values(self) -> Array:
        """Return Q*, the best discounted mean return from each state and action, shape (N, states, actions)."""
        return self._optima()[self._which]

    def policy_values(self, policy: Array) -> Array:
        """Return V of a policy, its discounted mean return from each state, shape (N, states).

        Args:
            policy: probability of each action in each state, shape (states, actions) or, one a copy, (N, states,
                actions).
        """
        policies = np.broadcast_to(policy, (self.num_envs, self._states, self._actions))
        pairs = zip(self._which, policies, strict=True)
        return np.stack([policy_value(*self._tables[which], self._discount, policy) for which, policy in pairs])

    def regret(self, actions: NDArray[Any]) -> Array:
        """Return V*(s) - Q*(s, a), at least 0, of actions in the present states, shape (N,)."""
        values = self._optima()[self._which, self._state]
        gap: Array = values.max(axis=1) - values[self._copies, actions]
        return gap

    def _optima(self) -> Array:
        if self._optimal is None:
            self._optimal = np.stack([optimum(*tables, self._discount) for tables in self._tables])
        return self._optimal

    def _draw_tables(self) -> None:
        moves, self._move = variants(self.transitions, self._draw_transitions)
        means, self._mean = variants(self.rewards, self._draw_rewards)
        self._cumulative, self._means = moves.cumsum(axis=-1), means
        pairs = np.stack(np.broadcast_arrays(self._move, self._mean, np.zeros(self.num_envs, dtype=np.intp))[:2])
        used, which = np.unique(pairs, axis=1, return_inverse=True)
        self._which = which.reshape(self.num_envs)  # the tables of each copy
        self._tables = [(moves[move], means[mean]) for move, mean in used.T]
        self._optimal = None

    def _draw_transitions(self, transitions: int) -> Array:
        """Return the probabilities of the next state, shape (states, actions, states)."""
        rng, pairs = generator(self._world_seed, "transitions", transitions), (self._states, self._actions)
        cuts = np.sort(rng.random((*pairs, self._branching - 1)), axis=-1)
        shares = np.diff(cuts, prepend=0.0, append=1.0, axis=-1)
        where = rng.permuted(np.tile(np.arange(self._states), (*pairs, 1)), axis=-1)[..., : self._branching]
        table = np.zeros((*pairs, self._states))
        np.put_along_axis(table, where, shares, axis=-1)
        return table

    def _draw_rewards(self, rewards: int) -> Array:
        return generator(self._world_seed, "rewards", rewards).standard_normal((self._states, self._actions))

    def _begin(self, mask: Mask) -> None:
        self._state = np.where(mask, self.integers(self._states, _START), self._state)
        self._lost = np.where(mask, 0.0, self._lost)

    def _observe(self) -> NDArray[np.float32]:
        seen = np.zeros((self.num_envs, self._states), dtype=np.float32)
        seen[self._copies, self._state] = 1.0
        return seen

    def _advance(self, actions: NDArray[Any]) -> tuple[Array, Mask]:
        noise = self.reward_deviation * gaussian(self._stream, self.count, _NOISE)[0]
        reward = self._means[self._mean, self._state, actions] + noise
        drawn = self._stream.uniform(self.count, _NEXT)
        passed = self._cumulative[self._move, self._state, actions, :-1] <= drawn[:, None]
        self._state = passed.sum(axis=1)
        return reward, np.zeros(self.num_envs, dtype=np.bool_)

    def _paint(self, copy: int) -> Image:
        """A row a state, a column an action: the mean reward, from red over yellow to green; the state has a mark."""
        _, means = self._tables[self._which[copy]]
        shades = np.clip((means + 2.0) * 4.0, 0.0, 15.0).astype(np.int64)
        image = np.tile(PAPER, (self._states, self._actions + 1, 1))
        image[:, 1:] = rainbow(48)[shades]
        image[self._state[copy], 0] = INK
        return image
