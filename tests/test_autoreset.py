"""All modes of autoreset, of all native batches and of all layers, against environments that are driven by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from lopgym.envs.build import batched
from tests.play import BATCHED, LAYERED, action_space, id_of, layered, random_actions, restless, same

COPIES, STEPS, LIMIT, SEED = 3, 26, 6, 4
LAYERS = "with all layers"
_SECOND = np.arange(COPIES) == 1
Told = list[dict[str, Any]]  # by copy
_PERIODS = {"step": COPIES, "reset": 2 * COPIES + 1, "truncate": 5 * COPIES + 1}  # some change at every call, or nearly

CASES = [*BATCHED, *(f"{world} {LAYERS}" for world in LAYERED)]
every_case = pytest.mark.parametrize("case", CASES)
# The other two modes have tests against Gymnasium's own, in tests/test_nonstationary_vector.py: one pair each will do.
PAIRS = [(AutoresetMode.NEXT_STEP, apply) for apply in ("step", "reset", "truncate")]
PAIRS += [(AutoresetMode.SAME_STEP, "truncate"), (AutoresetMode.DISABLED, "step")]


class Copies:
    """N environments with stride N, reset by hand as an autoreset mode says."""

    def __init__(self, world: str, **options: Any) -> None:
        """Make them."""
        self.envs = [gym.make(id_of(world), stride=COPIES, **options) for _ in range(COPIES)]
        self.over = [False] * COPIES

    def reset(self) -> Told:
        """Begin all."""
        return [_begun(env.reset(seed=SEED + i)) for i, env in enumerate(self.envs)]

    def same_step(self, actions: NDArray[Any]) -> Told:
        """Reset whoever is over in the same call: his last sight and info go apart."""
        said = [_went(env.step(action)) for env, action in zip(self.envs, actions, strict=True)]
        for one, env in zip(said, self.envs, strict=True):
            if one["terminated"] or one["truncated"]:
                one |= {"final_obs": one["seen"], "final_news": one["news"]} | _begun(env.reset())
        return said

    def next_step(self, actions: NDArray[Any]) -> Told:
        """Reset whoever was over at the call before, in the place of a step.

        In a batch time goes on for all copies alike: the step is taken, by whoever is over, too, and comes to nothing;
        clock and luck have moved on, the reward is 0, and what is seen is the beginning.
        """
        said = [_went(env.step(action)) for env, action in zip(self.envs, actions, strict=True)]
        for i, env in enumerate(self.envs):
            if self.over[i]:
                said[i] = {"reward": 0.0, "terminated": False, "truncated": False} | _begun(env.reset())
            self.over[i] = said[i]["terminated"] or said[i]["truncated"]
        return said

    def disabled(self, actions: NDArray[Any]) -> Told:
        """Leave it to the caller."""
        return [_went(env.step(action)) for env, action in zip(self.envs, actions, strict=True)]


_DRIVEN: dict[AutoresetMode, Callable[[Copies, NDArray[Any]], Told]] = {
    AutoresetMode.SAME_STEP: Copies.same_step,
    AutoresetMode.NEXT_STEP: Copies.next_step,
    AutoresetMode.DISABLED: Copies.disabled,
}


def _news(info: dict[str, Any]) -> dict[str, Any]:
    return {"task": info["task"], "clock": info["clock"], **info["drift"]}


def _begun(said: tuple[Any, dict[str, Any]]) -> dict[str, Any]:
    return {"seen": said[0], "news": _news(said[1])}


def _went(said: tuple[Any, Any, bool, bool, dict[str, Any]]) -> dict[str, Any]:
    seen, reward, terminated, truncated, info = said
    flags = {"terminated": bool(terminated), "truncated": bool(truncated)}
    return {"seen": seen, "reward": float(reward), **flags, "news": _news(info)}


def _dealt(info: dict[str, Any], copy: int) -> dict[str, Any]:
    """Return the news of a batch's info about one copy, all of whose masks must say that there are some."""
    masks = [value for key, value in (info | info["drift"]).items() if key in ("_task", "_clock", "_drift")]
    masks += [info["drift"][f"_{name}"] for name in info["drift"] if not name.startswith("_")]
    assert len(masks) == 3 + len(info["drift"]) // 2
    assert all(mask[copy] for mask in masks)
    drift = {name: float(values[copy]) for name, values in info["drift"].items() if not name.startswith("_")}
    return {"task": int(info["task"][copy]), "clock": int(info["clock"][copy]), **drift}


def _told(said: Any) -> Told:
    """Return what a batch says at a step, copy by copy."""
    seen, reward, terminated, truncated, info = said
    over, told = terminated | truncated, []
    for i in range(COPIES):
        one = {"seen": seen[i], "reward": float(reward[i]), "news": _dealt(info, i)}
        one |= {"terminated": bool(terminated[i]), "truncated": bool(truncated[i])}
        if "final_obs" in info and over[i]:
            one |= {"final_obs": info["final_obs"][i], "final_news": _dealt(info["final_info"], i)}
        told.append(one)
    if "final_obs" in info:
        masks = [info["_final_obs"], info["_final_info"], info["final_info"]["_task"]]
        assert all((mask == over).all() for mask in masks)
    return told


def _options(case: str, apply: str) -> tuple[str, dict[str, Any]]:
    world, _, layers = case.partition(" ")
    drifts = (layered if layers else restless)(world, _PERIODS[apply])
    return world, {"drifts": drifts, "apply": apply, "max_episode_steps": LIMIT, "world_seed": 3}


@every_case
@pytest.mark.parametrize(("mode", "apply"), PAIRS)
@pytest.mark.filterwarnings("ignore:.*calling 'step.*even though:UserWarning")  # Gymnasium's, about steps after an end
def test_every_mode_is_that_of_environments_driven_by_hand(case: str, mode: AutoresetMode, apply: str) -> None:
    """Bit for bit: sights, rewards, ends, infos, and in SAME_STEP the last sights and infos of episodes.

    One copy is reset by its caller early on, so that episodes do not all end at the same time.
    """
    world, options = _options(case, apply)
    batch, copies = batched(COPIES, world=world, autoreset_mode=mode, **options), Copies(world, **options)
    seen, info = batch.reset(seed=SEED)
    assert same([{"seen": seen[i], "news": _dealt(info, i)} for i in range(COPIES)], copies.reset())
    rng, ends = np.random.default_rng(2), 0
    for call in range(STEPS):
        actions = random_actions(action_space(world), rng, COPIES)
        said = batch.step(actions)
        told, over = _told(said), said[2] | said[3]
        assert same(told, _DRIVEN[mode](copies, actions))
        ends += over.sum()
        early = _SECOND & (call == 2) & ~over.any()
        asked = over | early if mode is AutoresetMode.DISABLED else early
        if asked.any():
            _assert_same_reset(batch.reset(options={"reset_mask": asked.copy()}), copies, asked, told)
    assert ends >= 2 * COPIES


def _assert_same_reset(said: Any, copies: Copies, mask: NDArray[np.bool_], before: Told) -> None:
    """Hold what a batch says of a reset of some copies to theirs; the others see what they saw."""
    seen, info = said
    for i, env in enumerate(copies.envs):
        if mask[i]:
            assert same({"seen": seen[i], "news": _dealt(info, i)}, _begun(env.reset()))
        else:
            assert same(seen[i], before[i]["seen"])
    assert all((info[key] == mask).all() for key in ("_task", "_clock", "_drift"))


@every_case
def test_next_step_keeps_gymnasiums_contract(case: str) -> None:
    """The call after an end gives no reward, is no end and hears no action: nothing later depends on that action."""
    world, options = _options(case, "step")
    one, other = (batched(COPIES, world=world, autoreset_mode="NextStep", **options) for _ in range(2))
    one.reset(seed=SEED)
    other.reset(seed=SEED)
    rng, over = np.random.default_rng(2), np.zeros(COPIES, dtype=np.bool_)
    for _ in range(STEPS):
        actions, ignored = (random_actions(action_space(world), rng, COPIES) for _ in range(2))
        where = over.reshape(-1, *(1,) * (actions.ndim - 1))
        said, too = one.step(actions), other.step(np.where(where, ignored, actions).astype(actions.dtype))
        assert same(said, too)
        _, reward, terminated, truncated, info = said
        assert not reward[over].any()
        assert not (terminated | truncated)[over].any()
        assert "final_obs" not in info
        over = terminated | truncated


def test_all_modes_meet_between_the_ends() -> None:
    """What they differ in is who resets, and when: until the first end, all three say the same."""
    batches = [batched(COPIES, world="catch", autoreset_mode=mode) for mode in AutoresetMode]
    said = [[batch.reset(seed=SEED), *(batch.step(np.ones(COPIES, dtype=int)) for _ in range(4))] for batch in batches]
    assert same(said[0], said[1])
    assert same(said[0], said[2])
