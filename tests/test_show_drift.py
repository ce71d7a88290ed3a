"""The state of the drift on pictures: below them, on every world, and of a size that a film can keep."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from lopgym.envs.painting import captioned
from lopgym.envs.show_drift import ShowDrift, drift_in_words
from tests.drawn import DRAWN
from tests.play import id_of

IDS = [id_of(world) for world in DRAWN]
CATCH = "lopgym/Catch-v0"


def _film(id: str, steps: int, **options: Any) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """The frames of some steps of an environment as they are, and with the band."""
    bare = gym.make(id, render_mode="rgb_array", disable_env_checker=True, **options)
    shown = ShowDrift(gym.make(id, render_mode="rgb_array", disable_env_checker=True, **options))
    films: list[list[Any]] = [[], []]
    for env, film in zip((bare, shown), films, strict=True):
        env.action_space.seed(0)
        env.reset(seed=0)
        film.append(env.render())
        for _ in range(steps):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            film.append(env.render())
            if terminated or truncated:
                env.reset()
    bare.close()
    shown.close()
    return films[0], films[1]


@pytest.mark.parametrize("id", IDS)
def test_the_picture_stays_and_a_band_comes_below(id: str) -> None:
    """On every registered world: the scene is untouched, in the middle, and there is ink below it."""
    bare, shown = _film(id, 2)
    for scene, frame in zip(bare, shown, strict=True):
        height, width = scene.shape[:2]
        assert frame.dtype == np.uint8
        left = (frame.shape[1] - width) // 2
        np.testing.assert_array_equal(frame[:height, left : left + width], scene)
        assert len(np.unique(frame[height:])) > 2
    assert len({frame.shape for frame in shown}) == 1


def test_the_band_follows_the_drift() -> None:
    """It changes with clock and values, and with nothing else."""
    _, shown = _film(CATCH, 3, drifts={"observation_order": {"kind": "count", "period": 2}})
    bands = [frame[-54:] for frame in shown]
    # After the reset and after the first step alike, step 0 is meant: what comes, and what was.
    np.testing.assert_array_equal(bands[0], bands[1])
    assert (bands[1] != bands[2]).any()
    assert (bands[2] != bands[3]).any()


def test_in_words() -> None:
    """Whole numbers are written in full, others short; an info that tells nothing gives no band."""
    told = {"task": 1, "clock": 12345, "drift": {"code": 4096.0, "gravity": 9.80665}}
    assert drift_in_words(told) == ["task 1", "clock 12,345", "code = 4096", "gravity = 9.807"]
    assert drift_in_words({"task": 1}) == []


@pytest.mark.parametrize(("width", "columns", "row"), [(30, 1, 18), (400, 2, 18), (600, 2, 27)])
def test_the_size_depends_on_the_number_of_words_alone(width: int, columns: int, row: int) -> None:
    """Narrow pictures get a margin, wide ones columns and larger letters."""
    image = np.zeros((20, width, 3), np.uint8)
    for words in (["a", "b", "c"], ["a" * 200, "", "b"]):
        assert captioned(image, words).shape == (20 + -(-3 // columns) * row, max(200, width), 3)


def test_what_is_no_picture_stays() -> None:
    """Without a render mode there is None; an environment that does not drift is shown as it is."""
    silent = ShowDrift(gym.make(CATCH, disable_env_checker=True))
    silent.reset(seed=0)
    assert silent.unwrapped.render() is None
    stranger = ShowDrift(gym.make("CartPole-v1", render_mode="rgb_array"))
    stranger.reset(seed=0)
    assert np.asarray(stranger.render()).shape == (400, 600, 3)
    stranger.close()


def test_it_travels() -> None:
    """Pickled, and made again from its spec."""
    env = ShowDrift(gym.make(CATCH, render_mode="rgb_array"))
    env.reset(seed=0)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(env)).render(), env.render())
    assert env.spec is not None
    assert isinstance(gym.make(env.spec), ShowDrift)
