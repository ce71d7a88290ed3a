"""What happens to an agent at a task change, beside its mitigations: one explicit object, logged with the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from stable_baselines3.common.running_mean_std import RunningMeanStd


@dataclass(frozen=True, kw_only=True)
class TaskChange:
    """The protocol of a task change.

    Args:
        optimizer: `clear` forgets moments and step counts.
        replay_buffer: `clear` forgets the old task's transitions. Kept ones contradict the new task: what they cost
            is contamination, not loss of plasticity.
        exploration: `restart` restarts epsilon and the random warm-up of `learning_starts` steps (DQN).
        normaliser: `clear` forgets the running statistics of observations and returns.
    """

    optimizer: Literal["keep", "clear"] = "keep"
    replay_buffer: Literal["keep", "clear"] = "keep"
    exploration: Literal["keep", "restart"] = "keep"
    normaliser: Literal["keep", "clear"] = "keep"

    def prepare(self, model: Any, steps_per_task: int, total: int) -> None:
        """Before training: make epsilon a function of the step within the task, if tasks restart exploration.

        `exploration_fraction` is then a share of the task, not of the run. Epsilon stays a pure function of the step.
        """
        if self.exploration == "restart" and hasattr(model, "exploration_schedule"):
            first, last = model.exploration_initial_eps, model.exploration_final_eps
            length = max(1.0, model.exploration_fraction * steps_per_task)

            def epsilon(progress_remaining: float) -> float:
                within = round((1 - progress_remaining) * total) % steps_per_task
                return float(first + (last - first) * min(within / length, 1.0))

            model.exploration_schedule = epsilon

    def apply(self, model: Any, warm_up: int) -> None:
        """Act on a Stable-Baselines3 model between two rollouts; `warm_up` random steps follow a restart."""
        if self.optimizer == "clear":
            model.policy.optimizer.state.clear()
        if self.replay_buffer == "clear" and getattr(model, "replay_buffer", None) is not None:
            model.replay_buffer.reset()
        if self.exploration == "restart" and hasattr(model, "exploration_schedule"):
            model.learning_starts = model.num_timesteps + warm_up
        normalizer = model.get_vec_normalize_env()
        if self.normaliser == "clear" and normalizer is not None:
            _forget(model, normalizer)


def _forget(model: Any, normalizer: Any) -> None:
    """Restart the statistics, and read the observation that the agent is about to act on with the new ones."""
    if normalizer.norm_obs:
        normalizer.obs_rms = RunningMeanStd(shape=normalizer.observation_space.shape)
    normalizer.ret_rms = RunningMeanStd(shape=())
    model._last_obs = normalizer.normalize_obs(normalizer.get_original_obs())
