"""Tapes: what is on them, that they reproduce a run, and what happens when time goes back."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from lopgym.envs.build import batched, single
from lopgym.envs.nonstationary import NonStationary
from lopgym.envs.nonstationary_vector import NonStationaryVector
from lopgym.envs.tape import Change, RecordTape, RecordTapeVector, played, read_tape, realised_changes, write_tape
from lopgym.schedules import Count, Cycle, Sine, from_plain
from tests.dial import Dial, Dials
from tests.play import LAYERED, every_world, has_batch, hurried, layered, random_actions

DRIFTS: dict[str, Any] = {
    "gravity": {"kind": "random_walk", "start": 9.8, "sd": 2.0, "low": 1.0, "high": 30.0, "period": 7},
    "length": {"kind": "sine", "mean": 0.6, "amplitude": 0.3, "period": 31.0},
    "observation_order": {"kind": "count", "period": 20},
    "masscart": 2.0,
}


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_tape_by_hand(tmp_path: Path) -> None:
    """All values at step 0, then what changes, when it does; the keys are those that other libraries read."""
    path = tmp_path / "tape.jsonl"
    env = RecordTape(
        NonStationary(Dial(), drifts={"left": Cycle(values=(1.5, -2.0), period=3), "right": 4}), path=str(path)
    )
    env.reset(seed=0)
    for _ in range(7):
        env.step(0)
    env.close()
    assert _lines(path) == [
        {"step": 0, "parameter": "left", "value": 1.5},
        {"step": 0, "parameter": "right", "value": 4.0},
        {"step": 3, "parameter": "left", "value": -2.0},
        {"step": 6, "parameter": "left", "value": 1.5},
    ]
    assert read_tape(path) == [Change(**line) for line in _lines(path)]


def _roll(env: Any, steps: int = 60) -> list[Any]:
    rng, batch = np.random.default_rng(0), isinstance(env, gym.vector.VectorEnv)
    space = env.single_action_space if batch else env.action_space
    observation, info = env.reset(seed=5)
    said = [(observation.tolist(), str(info["drift"]), str(info["clock"]))]
    for _ in range(steps):
        drawn = random_actions(space, rng, env.num_envs if batch else 1)
        observation, reward, terminated, truncated, info = env.step(drawn if batch else drawn[0])
        said.append(
            (*(np.asarray(x).tolist() for x in (observation, reward, terminated, truncated)), str(info["drift"]))
        )
        if not batch and (terminated or truncated):
            said.append(env.reset()[0].tolist())
    env.close()
    return said


@pytest.mark.parametrize("apply", ["step", "reset"])
def test_a_tape_reproduces_the_run(tmp_path: Path, apply: Any) -> None:
    """Jumps, walks and what moves at every step: sights, rewards, ends and drift, bit for bit."""
    path = str(tmp_path / "tape.jsonl")
    orders: dict[str, Any] = {"world_seed": 3}
    live = _roll(RecordTape(single("cartpole", drifts=DRIFTS, apply=apply, **orders), path=path))
    assert _roll(single("cartpole", drifts=played(path), **orders)) == live


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_a_tape_reproduces_the_run_of_a_batch(tmp_path: Path, mode: str) -> None:
    """Four copies, on one tape; steps between two calls are not told."""
    path = str(tmp_path / "tape.jsonl")
    made = {"world": "cartpole", "world_seed": 3, "autoreset_mode": mode, "max_episode_steps": 9}
    live = _roll(RecordTapeVector(batched(4, drifts=DRIFTS, **made), path=path))  # type: ignore[arg-type]
    assert all(change.step % 4 == 0 for change in read_tape(path))
    assert _roll(batched(4, drifts=played(path), **made)) == live  # type: ignore[arg-type]


@every_world
def test_every_world_can_be_played_from_a_tape(tmp_path: Path, world: str) -> None:
    """The default drift, hurried; of a batch, too, where a change falls on the last step of all its episodes."""
    path = str(tmp_path / "tape.jsonl")
    live = _roll(RecordTape(single(world, drifts=hurried(world, 6)), path=path), 25)
    assert _roll(single(world, drifts=played(path)), 25) == live
    if has_batch(world):
        short: dict[str, Any] = {"world": world, "autoreset_mode": "SameStep", "max_episode_steps": 4}
        live = _roll(RecordTapeVector(batched(2, drifts=hurried(world, 6), **short), path=path), 25)
        assert _roll(batched(2, drifts=played(path), **short), 25) == live


@pytest.mark.parametrize("world", LAYERED)
def test_every_layer_can_be_played_from_a_tape(tmp_path: Path, world: str) -> None:
    """All parameters of all layers that fit around a world, and a random walk of one of them."""
    path = str(tmp_path / "tape.jsonl")
    walk = {"kind": "random_walk", "start": 2.0, "sd": 0.5, "low": 1.0, "high": 3.0, "period": 2}
    drifts = layered(world, 5, native=False) | {"reward_scale": walk}
    live = _roll(RecordTape(single(world, drifts=drifts, world_seed=4), path=path))
    assert _roll(single(world, drifts=played(path), world_seed=4)) == live


def test_the_realised_drift_is_known_without_a_run(tmp_path: Path) -> None:
    """What a run records is what follows from drifts and world seed; a written tape is read back exactly."""
    path = tmp_path / "tape.jsonl"
    env = RecordTape(single("cartpole", drifts=DRIFTS, world_seed=3), path=str(path))
    _roll(env, 50)
    told = list(realised_changes(DRIFTS, steps=50, world_seed=3))
    assert [change for change in read_tape(path) if change.step < 50] == told
    write_tape(path, told)
    assert read_tape(path) == told


def test_going_back_takes_back_what_was_to_come(tmp_path: Path) -> None:
    """A new life begins a new tape; seeking back keeps what was before."""
    path = tmp_path / "tape.jsonl"
    env = RecordTape(NonStationary(Dial(), drifts={"right": Count(period=2)}), path=str(path))
    env.reset(seed=0)
    for _ in range(9):
        env.step(0)
    env.reset(options={"clock": 5})
    assert [(line["step"], line["value"]) for line in _lines(path)] == [(0, 0), (2, 1), (4, 2)]
    env.step(0)
    env.step(0)
    env.reset()
    assert [line["step"] for line in _lines(path)] == [0, 2, 4, 6]
    env.reset(seed=1)
    assert [line["step"] for line in _lines(path)] == [0]


def test_two_values_of_one_step_are_the_last_of_them(tmp_path: Path) -> None:
    """Episodes begun without a step between them, on the clock `episode`."""
    path = tmp_path / "tape.jsonl"
    drifts = {"right": Count(period=1), "left": 3.0}
    env = RecordTape(NonStationary(Dial(), drifts=drifts, clocks={"right": "episode"}), path=str(path))
    env.reset(seed=0)
    env.step(0)
    for _ in range(3):
        env.reset()
    assert [tuple(line.values()) for line in _lines(path)] == [(0, "right", 0), (0, "left", 3), (1, "right", 3)]


def test_many_changes_are_written_before_the_end(tmp_path: Path) -> None:
    """A run that is killed leaves all but the last thousand."""
    path = tmp_path / "tape.jsonl"
    env = RecordTape(NonStationary(Dial(), drifts={"left": Sine(mean=0, amplitude=1, period=99.5)}), path=str(path))
    env.reset(seed=0)
    for _ in range(2500):
        env.step(0)
    assert 1500 < len(_lines(path)) < 2500


def test_copies_that_differ_fit_on_no_tape(tmp_path: Path) -> None:
    """One line says so."""
    drifts = {"right": Count(period=1)}
    batch = NonStationaryVector(Dials(2), drifts=drifts, clocks={"right": "episode"}, autoreset_mode="Disabled")
    env = RecordTapeVector(batch, path=str(tmp_path / "tape.jsonl"))
    env.reset(seed=0)
    env.step(np.zeros(2, dtype=int))
    env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ValueError, match="copies differ in right at step 2: a tape tells one value"):
        env.step(np.zeros(2, dtype=int))


def test_recorders_are_not_copied(tmp_path: Path) -> None:
    """Two of them would write one file."""
    env = RecordTape(NonStationary(Dial(), drifts={"left": 1.0}), path=str(tmp_path / "tape.jsonl"))
    for make in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled: copy the environment inside it"):
            make(env)  # type: ignore[operator]


def test_what_is_no_tape_is_refused(tmp_path: Path) -> None:
    """With the number of the line."""
    path = tmp_path / "tape.jsonl"
    for line in ('{"step": 1}', "nonsense", "[1, 2]", '{"step": "x", "parameter": "a", "value": 1}'):
        path.write_text('{"step": 0, "parameter": "a", "value": 1}\n' + line + "\n")
        with pytest.raises(ValueError, match=r"line 2 of .* is not of the form"):
            read_tape(path)
    with pytest.raises(ValueError, match=r"cannot read .*absent.*: No such file"):
        played(tmp_path / "absent")


def test_without_a_drift_layer_there_is_nothing_to_record(tmp_path: Path) -> None:
    """Said at once, and no file is written."""
    path = tmp_path / "tape.jsonl"
    for make, env in ((RecordTape, Dial()), (RecordTapeVector, Dials(2))):
        with pytest.raises(ValueError, match="has no drift layer: there is nothing to record"):
            make(env, path=str(path))  # type: ignore[operator]
    assert not path.exists()


def test_what_moved_all_the_time_is_played_without_task_changes(tmp_path: Path) -> None:
    """With `between="linear"`: the values at every step are those of the run, and between strides they are joined."""
    path, swing = str(tmp_path / "tape.jsonl"), Sine(mean=0.0, amplitude=5.0, period=37.0)
    for stride in (1, 4):
        env = RecordTape(NonStationary(Dial(), drifts={"left": swing}, stride=stride), path=path)
        env.reset(seed=0)
        live = [env.step(0)[4] for _ in range(40)]
        env.close()
        again = NonStationary(Dial(), drifts=played(path, between="linear"), stride=stride)
        again.reset(seed=0)
        told = [again.step(0)[4] for _ in range(40)]
        assert told == live
        assert told[-1]["task"] == 0
    (drift,) = played(path, between="linear").values()
    assert from_plain(drift)(6) == pytest.approx((swing(4) + swing(8)) / 2)
