"""Memory: what a machine and a container leave, what many worlds weigh, and what a checkpoint can hold."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from lopgym.studies import memory
from lopgym.studies.compose import ConfigError, load, session

CATCH, CUSTOM = "study=catch_dqn", "study=custom"
MANY = "env.n_envs=256 agent.n_steps=32 agent.batch_size=32 tasks=1 steps_per_task=8192"  # copies, of a study with PPO


def test_what_is_available_is_no_more_than_a_container_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several limits the least holds; one that is not there, or says `max`, is none; what is taken is gone."""
    (tmp_path / "some").write_text("1048576\n")
    (tmp_path / "none").write_text("max\n")
    (tmp_path / "taken").write_text("524288\n")
    files = ("none", "-"), ("-", "-"), ("some", "-"), ("some", "taken")
    none, missing, some, taken = ((str(tmp_path), *names) for names in files)
    monkeypatch.setattr(memory, "_CONTAINERS", (none, missing))
    assert 2**20 < memory.available() < 2**50
    monkeypatch.setattr(memory, "_CONTAINERS", (none, some))
    assert memory.available() == 2**20
    monkeypatch.setattr(memory, "_CONTAINERS", (taken, none))
    assert memory.available() == 2**19
    (tmp_path / "memory.stat").write_text("anon 4096\ninactive_file 8192\n")
    assert memory.available() == 2**19 + 8192, "files that were read make way"
    (tmp_path / "taken").write_text("2097152\n")
    assert memory.available() == 0


def test_a_buffer_of_which_no_checkpoint_can_be_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would fit into memory, and hours later not into the file."""
    monkeypatch.setattr(memory, "available", lambda: math.inf)
    words = [CATCH, "tasks=50000", "steps_per_task=1000"]
    said = r"agent\.buffer_size=4\d{7}: 4\d,.* take 9\.\d GiB of a checkpoint, .* 8\.0 GiB; there is room for 3\d,"
    with session() as loader:
        with pytest.raises(ConfigError, match=said):
            load(loader, [*words, "agent.buffer_size=40000000"])
        for fits in ("agent.buffer_size=30000000", "agent.buffer_size=40000000 checkpoint.every=0"):
            load(loader, [*words, *fits.split()])


class _Weighed(gym.Env[Any, Any]):
    """Counts its copies, and can fail to begin."""

    observation_space, action_space = gym.spaces.Discrete(3), gym.spaces.Discrete(2)
    here, fails = 0, False

    def __init__(self) -> None:
        type(self).here += 1

    def reset(self, **_: Any) -> Any:
        if self.fails:
            raise LookupError("no such\nlevel")
        return 0, {}

    def close(self) -> None:
        type(self).here -= 1


def test_worlds_that_are_weighed_are_closed_and_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many separate copies are begun beforehand: what one of them raises is a line like any other."""
    spec = gym.envs.registration.EnvSpec("Weighed-v0", entry_point=_Weighed, disable_env_checker=True)
    monkeypatch.setitem(gym.registry, "Weighed-v0", spec)
    words = [CUSTOM, "env.id=Weighed-v0", "probes=none", *MANY.split()]
    with session() as loader:
        load(loader, words)
        assert _Weighed.here == 0
        monkeypatch.setattr(_Weighed, "fails", True)
        with pytest.raises(ConfigError, match=r"a copy of the world cannot be begun: LookupError: no such level$"):
            load(loader, words)
        assert _Weighed.here == 0
