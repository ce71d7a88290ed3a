"""Render mode `human`: every registered world in a window, the state of its drift below it, nothing else changed."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pygame
import pytest
from gymnasium.envs.registration import EnvSpec

from lopgym.envs.build import single
from lopgym.envs.layers import stack
from lopgym.envs.painting import captioned, enlarge
from lopgym.envs.show_drift import drift_in_words
from lopgym.envs.window import Watched
from tests.drawn import every_drawn
from tests.play import every_world, id_of, restless, same

CATCH = "lopgym/Catch-v0"


@pytest.fixture(autouse=True)
def ticks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """No test waits: what a window asks the clock for, frames a second, is noted. None leaves a window open."""
    asked: list[float] = []

    class Clock:
        def tick(self, fps: float) -> None:
            asked.append(fps)

    monkeypatch.setattr(pygame.time, "Clock", Clock)
    yield asked
    assert pygame.display.get_surface() is None


def _in_the_window() -> Any:
    """What is shown, shape (H, W, 3)."""
    return pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)


def _framed(scene: Any, info: dict[str, Any]) -> Any:
    return captioned(enlarge(scene, 320), drift_in_words(info))


def _made(world: str, mode: str, drifts: dict[str, Any]) -> Any:
    """Made with the checker on; a warning is an error."""
    env: Any = gym.make(id_of(world), render_mode=mode, drifts=drifts)
    env.action_space.seed(0)
    env.reset(seed=0)
    env.render()
    return env


@every_drawn
def test_a_person_sees_each_step_of_the_world_that_is_without_the_window(world: str, ticks: list[float]) -> None:
    """Bit for bit the same life; every frame is the scene, enlarged where small, and the drift of the step below it."""
    drifts = restless(world, 2)
    bare, watched = _made(world, "rgb_array", drifts), _made(world, "human", drifts)
    ticks.clear()
    for _ in range(3):
        action = bare.action_space.sample()
        said = bare.step(action)
        assert same(watched.step(action), said)
        np.testing.assert_array_equal(_in_the_window(), _framed(bare.render(), said[-1]))
        assert watched.render() is None
    assert all({"human", "rgb_array"} <= {*env.metadata["render_modes"]} for env in (bare, watched))
    assert watched.render_mode == "human"
    assert ticks == [watched.metadata["render_fps"]] * 3
    assert pygame.display.get_caption()[0] == id_of(world)
    bare.close()
    watched.close()
    watched.close()


def test_the_beginning_is_shown_with_what_the_first_step_will_meet() -> None:
    """At step 3 of the life, in the task that begins there."""
    env: Any = gym.make(CATCH, render_mode="human", drifts={"observation_order": {"kind": "count", "period": 3}})
    _, info = env.reset(seed=0, options={"clock": 3})
    assert drift_in_words(info) == ["task 1", "clock 3", "observation_order = 1"]
    twin: Any = gym.make(CATCH, render_mode="rgb_array", drifts={})
    twin.reset(seed=0)
    np.testing.assert_array_equal(_in_the_window(), _framed(twin.render(), info))
    env.close()


def test_the_spec_makes_the_window_again() -> None:
    """By way of JSON; there is no other layer in it."""
    env = gym.make(CATCH, render_mode="human", drifts={"reward_scale": 2.0})
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert [type(layer) for layer in stack(again)] == [type(layer) for layer in stack(env)]
    assert env.spec.additional_wrappers == ()
    assert again.spec == env.spec
    assert again.render_mode == "human"
    again.close()
    env.close()


def test_a_copy_shows_what_it_does_itself() -> None:
    """Made in the middle of an episode, by pickle or deepcopy, while the window is open."""
    env = single("catch", render_mode="human")
    env.reset(seed=0)
    for twin in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        twin.step(1)
        shown = _in_the_window()
        env.reset(seed=0)
        assert shown.shape == _in_the_window().shape
        assert (shown != _in_the_window()).any()
        twin.close()
    env.close()


def test_the_window_opens_again_when_somebody_else_quits_pygame() -> None:
    """Gymnasium's environments do, all of it, when they are closed."""
    env, other = single("cartpole", render_mode="human"), gym.make("CartPole-v1", render_mode="rgb_array")
    env.reset(seed=0)
    other.reset(seed=0)
    other.render()
    other.close()
    assert pygame.display.get_surface() is None
    env.step(0)
    assert _in_the_window().shape == (454, 600, 3)
    env.close()


def test_one_that_showed_nothing_closes_nothing() -> None:
    """The window belongs to who shows a frame in it."""
    env, idle = single("catch", render_mode="human"), single("catch", render_mode="human")
    env.reset(seed=0)
    idle.close()
    assert pygame.display.get_surface() is not None
    env.close()


def test_any_drifting_environment_can_be_watched() -> None:
    """The layer does not need an id of ours: its title is then the environment's own."""
    env = Watched(gym.make("CartPole-v1", render_mode="rgb_array"), drifts={})
    _, info = env.reset(seed=0)
    np.testing.assert_array_equal(_in_the_window(), _framed(env.env.render(), info))
    assert pygame.display.get_caption()[0] == "CartPole-v1"
    env.close()


@every_world
def test_other_modes_are_refused_in_one_line(world: str) -> None:
    """Gymnasium's classic control would take anything; a batch has no window."""
    with pytest.raises(ValueError, match=f"render_mode='humen' is not allowed for '{world}'; did you mean 'human'"):
        gym.make(id_of(world), render_mode="humen")
    if gym.spec(id_of(world)).vector_entry_point:
        with pytest.raises(ValueError, match=r"render_mode='human' is not allowed.*rgb_array"):
            gym.make_vec(id_of(world), 2, render_mode="human")
