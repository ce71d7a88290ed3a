"""The exact regret of the random MDP: in the info of every step, against an optimum found by value iteration."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from lopgym.agents.vec_env import GymVecEnv
from lopgym.envs.build import make_vec, single

DRIFTS = {"transitions": {"kind": "count", "period": 4}, "rewards": {"kind": "count", "period": 6}}
ID, KEYS = "lopgym/RandomMDP-v0", {"regret", "_regret", "episode_regret", "_episode_regret"}
SIZES: dict[str, Any] = {"states": 5, "actions": 3, "discount": 0.9, "world_seed": 7}


def _gaps(transitions: int, rewards: int) -> Any:
    """V* - Q* of a table, shape (states, actions), by 400 sweeps of value iteration; 0.9^400 is below 1e-18."""
    world: Any = single("random_mdp", drifts={"transitions": transitions, "rewards": rewards}, **SIZES).unwrapped
    ((move, mean),), best = world.batch._tables, np.zeros(SIZES["states"])
    for _ in range(400):
        values = mean + SIZES["discount"] * np.einsum("sat,t->sa", move, best)
        best = values.max(axis=1)
    return best[:, None] - values


@pytest.mark.parametrize("layer", [{}, {"reward_scale": 3.0, "observation_order": 2}])
def test_regret_of_every_step_and_episode_under_drift(layer: dict[str, float]) -> None:
    """Tables change within episodes; what the agent is shown and paid does not touch it."""
    bare = single("random_mdp", drifts=DRIFTS, **SIZES)
    env: Any = gym.make(ID, drifts=DRIFTS | layer, max_episode_steps=7, **SIZES)
    rng, total = np.random.default_rng(0), 0.0
    state = bare.reset(seed=1)[0].argmax()
    assert "regret" not in env.reset(seed=1)[1]
    for t in range(40):
        action = int(rng.integers(3))
        expected = _gaps(t // 4, t // 6)[state, action]
        _, _, _, over, info = env.step(action)
        total += expected
        assert info["regret"] == pytest.approx(expected, abs=1e-9)
        assert info["episode_regret"] == pytest.approx(total, abs=1e-9)
        assert {type(info[key]) for key in ("regret", "episode_regret")} == {float}
        state = bare.step(action)[0].argmax()
        if over:
            total = 0.0
            env.reset()
            state = bare.reset()[0].argmax()
    assert total > 0


def test_regret_is_of_what_the_world_is_made_to_do() -> None:
    """With the actions in another order, the same choices are other deeds, with their own regret."""
    env, swapped = (single("random_mdp", drifts={"action_order": order}, **SIZES) for order in (0, 5))
    for one in (env, swapped):
        one.reset(seed=0)
    order = swapped.env._order  # type: ignore[attr-defined]
    deeds = [int(order[action]) for action in (0, 1, 2)]
    undone = [int(np.argsort(env.env._order)[deed]) for deed in deeds]  # type: ignore[attr-defined]
    assert undone != [0, 1, 2]
    for choice, same_deed in zip((0, 1, 2), undone, strict=True):
        assert swapped.step(choice)[-1]["regret"] == env.step(same_deed)[-1]["regret"]


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_a_batch_tells_of_each_copy_that_took_a_step_of_its_episode(mode: str) -> None:
    """As separate copies do, masks included: of one that has only been reset there is nothing to tell."""
    options: dict[str, Any] = {"drifts": {"rewards": {"kind": "count", "period": 6}}, "max_episode_steps": 3, **SIZES}
    envs = [make_vec(ID, 2, vectorization_mode=how, autoreset_mode=mode, **options) for how in (None, "sync")]
    for env in envs:
        env.reset(seed=0)
    rng = np.random.default_rng(0)
    for t in range(1, 12):
        actions = rng.integers(3, size=2)
        (*_, cut, ours), (*_, theirs) = (env.step(actions) for env in envs)
        is_reset = (mode, t % 3) == ("SameStep", 0) or (mode, t % 4) == ("NextStep", 0)
        assert [told.keys() & KEYS for told in (ours, theirs)] == [set() if is_reset else KEYS] * 2
        for key in KEYS & ours.keys() if mode != "NextStep" or t < 4 else ():  # there, a reset is a step of the luck
            assert ours[key].tolist() == theirs[key].tolist()
        if mode == "SameStep" and is_reset:
            for key in KEYS:
                assert ours["final_info"][key].tolist() == theirs["final_info"][key].tolist()
        if mode == "Disabled" and cut.any():
            for env in envs:
                env.reset(options={"reset_mask": cut})


def test_stable_baselines3_hears_of_it() -> None:
    """At the end of an episode, too: the info is then of its last step."""
    batch = GymVecEnv(make_vec(ID, 2, autoreset_mode="SameStep", max_episode_steps=2, **SIZES), seed=0)
    batch.reset()
    told = [batch.step(np.zeros(2, dtype=np.int64))[-1] for _ in range(2)]
    for copy in range(2):
        first, last = (infos[copy] for infos in told)
        assert "terminal_observation" in last
        assert last["episode_regret"] == first["regret"] + last["regret"]
