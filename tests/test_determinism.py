"""One seed, one run: whoever makes the copies, whatever steps them, and in whichever process they live."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.by_hand import Run, by_hand, digest, with_layers
from tests.play import BATCHED, LAYERED, WORLDS
from tests.ways import ANY, FORKED, NATIVE, SPAWNED, told

# Python hashes texts anew in every process: what depends on a hash would differ here.
_FRESH = """
import json, sys
from tests.by_hand import by_hand, digest, with_layers
worlds, around = json.load(sys.stdin)
print(json.dumps([*(digest(by_hand(world)) for world in worlds), *(digest(with_layers(world)) for world in around)]))
"""

# Processes cost: the fast tests have some worlds in them, the slow ones all; spawned ones cost seconds each.
WAYS_OF_WORLDS = [
    *((world, way) for world in BATCHED for way in NATIVE),
    *((world, way) for world in WORLDS for way in ANY),
    *(pytest.param(w, way, marks=pytest.mark.slow if i % 6 else []) for i, w in enumerate(WORLDS) for way in FORKED),
    *(pytest.param(world, way, marks=pytest.mark.slow) for world in WORLDS[::6] for way in SPAWNED),
]


@cache
def _by_hand(world: str) -> Run:
    return by_hand(world)


@pytest.mark.parametrize(("world", "way"), WAYS_OF_WORLDS)
def test_every_way_tells_the_same_run(world: str, way: str) -> None:
    """Sights, rewards, ends, last sights, first sights and infos of all copies are those of environments by hand."""
    said = told(way, world)
    assert said == _by_hand(world)
    assert len({repr(own) for own in said}) == len(said)
    assert any(len(one) == 2 for one in said[0][1:])


def test_a_fresh_interpreter_tells_the_same_run(root: Path) -> None:
    """Every world, and every layer: nothing depends on the process, its hashes or what ran in it before."""
    fresh = subprocess.run(
        [sys.executable, "-c", _FRESH],
        input=json.dumps([WORLDS, LAYERED]),
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env=os.environ | {"PYTHONHASHSEED": "12345"},
    )
    runs = [*map(_by_hand, WORLDS), *map(with_layers, LAYERED)]
    assert json.loads(fresh.stdout) == [digest(run) for run in runs]
