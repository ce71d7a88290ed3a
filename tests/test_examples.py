"""The examples run, and show what they say."""

import runpy
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest


@pytest.fixture(scope="module")
def train(root: Path) -> Callable[..., list[float]]:
    """Return `main` of the plain example."""
    main: Callable[..., list[float]] = runpy.run_path(str(root / "examples/plain_sb3.py"))["main"]
    return main


def test_plain_sb3_learns_in_every_task(train: Callable[..., list[float]]) -> None:
    """Two tasks, two rewards well above the quarter that guessing earns: new labels, learned anew."""
    rewards = train(tasks=2)
    assert len(rewards) == 2
    assert min(rewards) > 0.4


@pytest.mark.slow
def test_plain_sb3_loses_its_plasticity(train: Callable[..., list[float]]) -> None:
    """As its first lines say: late tasks earn less than early ones, by far more than tasks differ."""
    rewards = train()
    assert mean(rewards[-5:]) < mean(rewards[:5]) - 0.1


def test_a_torch_loop_is_probed_in_five_lines(root: Path) -> None:
    """No more are marked. The network that stops learning is seen to have died, and nothing is disturbed."""
    example = root / "examples/probe_a_torch_loop.py"
    assert example.read_text().count("# lopgym, ") == 5
    module = runpy.run_path(str(example))
    first, *_, last = history = module["main"]()
    assert first["accuracy"] > 0.95
    assert last["accuracy"] < 0.7
    assert first["dead_fraction/second"] < 0.3
    assert last["dead_fraction/second"] > 0.9
    module["main"].__globals__["probe"] = lambda *_: {}
    assert [bare["accuracy"] for bare in module["main"]()] == [probed["accuracy"] for probed in history]


@pytest.mark.parametrize(
    "example", [path.name for path in sorted((Path(__file__).parents[1] / "examples").iterdir()) if path.is_file()]
)
def test_every_example_is_in_the_docs(root: Path, example: str) -> None:
    """The page about other libraries links to it."""
    assert f"](../examples/{example})" in (root / "docs/libraries.md").read_text()
