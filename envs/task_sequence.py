"""Task sequence: several registered environments, one after another, behind one common pair of spaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.common_space import common_action, common_observation, own_action, padded
from lopgym.envs.journal import Journal
from lopgym.envs.painting import Image, centred
from lopgym.envs.snapshot import Snapshot
from lopgym.envs.tasks import Named, as_tasks, begins_anew
from lopgym.envs.variants import MAX_INDEX
from lopgym.envs.world import METADATA, BatchedWorld, Mask, Step
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class TaskSequencePhysics(Physics):
    """What can drift."""

    task: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which environment: number `task` modulo their count")


@environments.register(
    "task_sequence",
    id="TaskSequence-v0",
    drifts={"task": {"kind": "count", "period": 20_000}},
)
class BatchedTaskSequence(BatchedWorld):
    """Play one registered environment after another, their observations and actions padded to a common size.

    ## Description
    Any Gymnasium ids in a row, with one network for all of them. Nothing tells the agent which one it is in, except
    what it sees. Each copy owns one instance of each environment that it has met. The batch steps them in turn, so it
    is as fast as they are and no faster; what they say in `info` is not passed on. It can be copied and pickled if they
    can: not in the middle of Gymnasium's own MuJoCo and Box2D environments, copies of which begin anew; ours go on.

    ## Action Space
    Of discrete actions, `Discrete(most)`, the largest of all: action a of a task with n actions is a modulo n. Of
    continuous ones, `Box(-1, 1, (most,), float32)`: the first elements, scaled to the task's own bounds; the others do
    nothing.

    ## Observation Space
    `Box(low, high, (most,), float32)`: the observation, flattened as `gymnasium.spaces.flatten` does, then zeros. The
    bounds are the widest of all tasks.

    ## Rewards
    The task's own; there is no scaling, which is a part of the difficulty.

    ## Starting State
    The task's own, seeded anew at every episode.

    ## Episode End
    The task's own: its terminations, and its time limit as truncation.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `task` | index | `count`, `period` 20 000 |

    The task cannot change within an episode: it is taken up at the next reset of a copy. With `apply` `truncate` or
    `reset`, `info["drift"]` is also the task that is being played; with `step`, it can be ahead until the episode ends.

    ## Arguments
    `ids` (CartPole-v1, Acrobot-v1, MountainCar-v0): what to play, in order. An id alone, or a pair of an id and its
    keyword arguments, as JSON knows them: `("lopgym/Catch-v0", {"rows": 8, "drifts": {}})`. A drift of their own, if
    they have any, starts over at every episode.

    ## Version History
    * v0: first version.
    """

    metadata = METADATA | {"render_fps": 30}
    physics_type = TaskSequencePhysics
    kept = ("_task", "_seen", "_over")
    task: Value

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        ids: tuple[Named, ...] = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0"),
    ) -> None:
        """Look at the spaces of every task.

        Raises:
            gymnasium.error.DependencyNotInstalled: one needs an extra; the message says how to install it.
            ValueError: there is no id, one is not registered or cannot be made, or their spaces have no common one.
        """
        self._tasks = as_tasks(ids)
        self._spaces = [task.spaces() for task in self._tasks]
        named = [*zip(map(str, self._tasks), self._spaces, strict=True)]
        seen = common_observation({name: observation for name, (observation, _) in named})
        done = common_action({name: action for name, (_, action) in named})
        # By copy and number of the task.
        self._made: list[dict[int, Journal]] = [{} for _ in range(num_envs)]
        self._task = np.zeros(num_envs, dtype=np.int64)
        self._seen = np.zeros((num_envs, *seen.shape), dtype=np.float32)
        self._over = np.ones(num_envs, dtype=np.bool_)
        super().__init__(num_envs, render_mode, seen, done)

    def step(self, actions: NDArray[Any]) -> Step:
        """Step the task of every copy; one whose episode is over stays as it is."""
        reward = np.zeros(self.num_envs)
        terminated, truncated = (np.zeros(self.num_envs, dtype=np.bool_) for _ in range(2))
        for copy in np.flatnonzero(~self._over).tolist():
            number = int(self._task[copy])
            action = own_action(self._spaces[number][1], actions[copy])
            seen, earned, terminated[copy], truncated[copy], _ = self._made[copy][number].step(action)
            self._see(copy, seen)
            reward[copy] = float(earned)
        self._over |= terminated | truncated
        self.count += 1
        return self._observe(), reward, terminated, truncated, {}

    def snapshot(self) -> Snapshot:
        """Return what steps and resets have made of the copies, among it the journals of the running episodes."""
        running = {copy: self._played(copy).snapshot() for copy in np.flatnonzero(~self._over).tolist()}
        return super().snapshot() | {"journals": [running.get(copy) for copy in range(self.num_envs)]}

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot, living through the running episodes again."""
        super().restore(snapshot)
        for copy, journal in enumerate(snapshot["journals"]):
            if journal is not None:
                self._played(copy).restore(journal)

    def close_extras(self, **kwargs: Any) -> None:
        """Close every task."""
        for made in self._made:
            for env in made.values():
                env.close()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs to go on.

        Raises:
            TypeError: a task that has been met would not go on in a copy.
        """
        met = {number: env for made in self._made for number, env in made.items()}
        if anew := [str(self._tasks[number]) for number, env in sorted(met.items()) if begins_anew(env)]:
            raise TypeError(f"{' and '.join(anew)} cannot be copied or pickled once met: a copy would begin anew")
        state: dict[str, Any] = super().__getstate__()
        return state

    def _begin(self, mask: Mask) -> None:
        seeds = self.integers(2**31)
        numbers = np.broadcast_to(self.task, self.num_envs) % len(self._tasks)
        self._task[mask], self._over[mask] = numbers[mask], False
        for copy in np.flatnonzero(mask).tolist():
            self._see(copy, self._played(copy).reset(seed=int(seeds[copy]))[0])

    def _played(self, copy: int) -> Journal:
        """Return what a copy plays now, made at the first time."""
        number, made = int(self._task[copy]), self._made[copy]
        if number not in made:
            made[number] = Journal(self._tasks[number].make(self.render_mode))
        return made[number]

    def _see(self, copy: int, observation: Any) -> None:
        space, _ = self._spaces[self._task[copy]]
        self._seen[copy] = padded(space, observation, self._seen.shape[1])

    def _observe(self) -> NDArray[np.float32]:
        return self._seen.copy()

    @cached_property
    def _stage(self) -> tuple[int, int]:
        """Height and width that all pictures have, so that they make one film."""
        heights, widths = zip(*(task.picture_size() for task in self._tasks), strict=True)
        return max(heights), max(widths)

    def _paint(self, copy: int) -> Image:
        return centred(np.asarray(self._played(copy).render()), *self._stage)
