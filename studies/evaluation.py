"""Evaluation: deterministic episodes on the current and on chosen earlier tasks, invisible to training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from lopgym.agents.vec_env import GymVecEnv
from lopgym.agents.weights import save_weights
from lopgym.record import Recorder, RunFolder
from lopgym.seeding import derive
from lopgym.studies.moments import Moment
from lopgym.studies.worlds import still_world, vector_world

if TYPE_CHECKING:
    from lopgym.studies.compose import Config


def play(model: Any, config: Config, task: int, moment: Moment, *, episodes: int, seed: int) -> list[float]:
    """Return the returns of `episodes` deterministic episodes on `task`, one in each of as many copies.

    The copies are held still as `still_world` says and have random streams of their own; nothing that training draws
    from is touched. An episode that is not over after `steps_per_task` steps is not waited for: it may never be.
    """
    still = still_world(config, task, moment)
    world = GymVecEnv(vector_world(config, episodes, **still), seed=seed)
    normalizer = model.get_vec_normalize_env()
    observations: Any = world.reset()
    if "episode" in still["clocks"].values():
        observations = _in_episodes(world, moment.episode)
    returns, earned = np.full(episodes, math.nan), np.zeros(episodes)
    for _ in range(config.steps_per_task):
        seen = observations if normalizer is None else normalizer.normalize_obs(observations)
        actions, _ = model.predict(seen, deterministic=True)
        observations, rewards, done, infos = world.step(actions)
        earned += rewards
        for i in np.flatnonzero(done & np.isnan(returns)):
            returns[i] = infos[i]["episode"]["r"]
        if not np.isnan(returns).any():
            break
    world.close()
    return [float(r) for r in np.where(np.isnan(returns), earned, returns)]


def _in_episodes(world: GymVecEnv, first: int) -> Any:
    """Put copy j into episode `first` + j: together, they are the episodes that one copy would meet next."""
    observations = None
    for j, copy in enumerate(np.eye(world.num_envs, dtype=np.bool_)):
        observations, _ = world.venv.reset(options={"reset_mask": copy, "episode": first + j})
    return observations


class Evaluation(BaseCallback):
    """Writes `eval/<task>/return` every so many steps and keeps the weights of the best one as `best.npz`.

    The current task is the one just trained on; best is judged on it.
    """

    def __init__(self, config: Config, recorder: Recorder, folder: RunFolder, moments: Mapping[int, Moment]) -> None:
        """Evaluate as `config.evaluation` says; `moments`, by task, may grow, and leave out what the life tells."""
        super().__init__()
        self._config, self._recorder, self._folder, self._moments = config, recorder, folder, moments
        self._every = config.evaluation.every
        self._at = self._every
        self._best = -math.inf

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self._every and self.num_timesteps >= self._at:
            self._at = (self.num_timesteps // self._every + 1) * self._every
            self._evaluate()

    def _on_training_end(self) -> None:
        self._on_rollout_start()

    def _evaluate(self) -> None:
        config, step = self._config, self.num_timesteps
        current = (step - 1) // config.steps_per_task
        means = {}
        for task in sorted({current, *(task for task in config.evaluation.tasks if task < current)}):
            seed, moment = derive(config.seed, "evaluation", task, step), self._moments.get(task, Moment())
            returns = play(self.model, config, task, moment, episodes=config.evaluation.episodes, seed=seed)
            means[task] = float(np.mean(returns))
        self._recorder.write(step, {f"eval/{task}/return": mean for task, mean in means.items()})
        if means[current] > self._best:
            self._best = means[current]
            save_weights(self.model, self._folder.checkpoints / "best.npz")

    def state_dict(self) -> dict[str, Any]:
        """Return when the next evaluation is due, and the best result so far."""
        return {"at": self._at, "best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._at, self._best = state["at"], state["best"]
