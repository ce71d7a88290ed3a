"""A video of the agent of a run, on one of its tasks."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from lopgym.agents.weights import load_weights
from lopgym.envs.show_drift import ShowDrift
from lopgym.seeding import derive
from lopgym.studies.checks import beyond_weights
from lopgym.studies.compose import Config, from_file
from lopgym.studies.moments import Moment, read_moment
from lopgym.studies.run import build_mitigations, build_model
from lopgym.studies.subjects import weights_in
from lopgym.studies.worlds import single_world, still_world, training_world

LONGEST = 600  # frames of one episode
FORMATS = (".mp4", ".gif")


class NoPictureError(RuntimeError):
    """The world cannot be drawn on this machine."""

    exit_code = 2


def record(
    path: Path,
    task: int,
    out: Path | None = None,
    episodes: int = 20,
    *,
    allow_import: Collection[str] | None = None,
) -> Path:
    """Film the agent as it was at the end of `task`, playing `episodes` deterministic episodes of that task.

    Args:
        path: run folder.
        task: number of the task.
        out: MP4 or GIF file to write; by default `task-<k>.mp4` in the run folder.
        episodes: how many.
        allow_import: packages that the run's world may import; None allows all.

    Returns:
        The file.

    Raises:
        CheckpointError: no run there, or no weights of that task.
        ConfigError: the run's config is none, or its world would import what is not allowed.
        NoPictureError: the world cannot be drawn here.
        ValueError: `out` is of another format, or a method keeps a part of the agent elsewhere than in its weights.
        FileNotFoundError: the folder of `out` does not exist.
    """
    out = out or path / f"task-{task}.mp4"
    folder, weights, _ = weights_in(path, task)
    _check(out)
    config = from_file(folder.config, allow_import=allow_import)
    if kind := beyond_weights(config):
        raise ValueError(f"{path}: {kind} adds to the network what is not in its weights; they are half of the agent")
    moment = read_moment(folder.metrics, (task + 1) * config.steps_per_task)
    with closing(training_world(config)) as world, closing(_stage(config, task, moment)) as stage:
        options = {"episode": moment.episode} if "episode" in config.env.clocks.values() else None
        frames = _play(_agent(config, world, weights), stage, episodes, derive(config.seed, "video", task), options)
        imageio.imwrite(out, np.stack(frames), fps=stage.metadata["render_fps"], macro_block_size=2)
    return out


def _agent(config: Config, world: VecEnv, weights: Path) -> Any:
    torch.set_num_threads(1)
    model = build_model(config, world, build_mitigations(config))
    load_weights(model, weights)
    return model


def _stage(config: Config, task: int, moment: Moment) -> ShowDrift:
    try:
        return ShowDrift(single_world(config, **still_world(config, task, moment), render_mode="rgb_array"))
    except gym.error.Error as error:
        raise NoPictureError(str(error)) from None


def _check(out: Path) -> None:
    """Refuse what cannot be written before any work is done."""
    if out.suffix.lower() not in FORMATS:
        raise ValueError(f"{out}: a film is written as {' or '.join(FORMATS)}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out}: there is no folder {out.parent}")


def _play(
    model: Any, stage: Any, episodes: int, seed: int, options: dict[str, int] | None
) -> list[np.ndarray[Any, Any]]:
    """Return the frames of some episodes; `seed` and `options` are those of the first reset."""
    normalizer = model.get_vec_normalize_env()
    frames = []
    for episode in range(episodes):
        observation, _ = stage.reset(seed=seed, options=options) if episode == 0 else stage.reset()
        frames.append(_even(stage.render()))
        for _ in range(LONGEST):
            seen = observation if normalizer is None else normalizer.normalize_obs(observation)
            action, _ = model.predict(seen, deterministic=True)
            observation, _, terminated, truncated, _ = stage.step(action)
            frames.append(_even(stage.render()))
            if terminated or truncated:
                break
    return frames


def _even(frame: Any) -> np.ndarray[Any, Any]:
    """Crop to even sides: what video codecs take."""
    image = np.asarray(frame)
    return image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
