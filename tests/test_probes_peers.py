"""Probes beside peers' analyses of the same network, as `benchmarks/probes.py` times them: the values are the same."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the benchmark defines."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return runpy.run_path(str(BENCHMARKS / "probes.py"))


@pytest.fixture
def net(benchmark: dict[str, Any]) -> Any:
    """A network of 2 x 24 units: of the second layer unit 0 is dead, 1 and 2 are clones, nobody reads 3 and 4."""
    torch.manual_seed(0)
    module = benchmark["authors"].__globals__["mlp"](24)
    second, head = module[2], module[4]
    with torch.no_grad():
        second.bias[0] = -1e3
        second.weight[2], second.bias[2] = 2 * second.weight[1], 2 * second.bias[1]
        head.weight[:, 3:5] = 0
    return benchmark["Net"]("planted", module, (64,), 1.0)


def test_values_equal_those_of_the_peers_to_1e_5(benchmark: dict[str, Any], net: Any) -> None:
    """All of both peers on a network that is not healthy, and what they read is what was planted."""
    assert benchmark["compare"](net) == "12 of 12 values as the authors', 10 as Plasticine's"
    theirs = benchmark["authors"](net)
    assert theirs["dead_fraction/hidden1"] == pytest.approx(1 / 24)
    assert theirs["duplicate_cosine_fraction/hidden1"] == pytest.approx(2 / 24)
    assert theirs["saturated_fraction/hidden1"] == pytest.approx(2 / 24)  # the dead one still has readers
    assert all(parameter.grad is None for parameter in net.module.parameters())


def test_the_comparison_sees_a_difference(benchmark: dict[str, Any], net: Any) -> None:
    """Values apart by more than 1e-5 are named, missing numbers too."""
    theirs = benchmark["plasticine"](net)
    tag = "srank/hidden0"
    assert list(benchmark["disagreement"](theirs | {tag: theirs[tag] + 1}, theirs, theirs)) == [tag]
    assert list(benchmark["disagreement"](theirs | {tag: float("nan")}, theirs, theirs)) == [tag]


def test_values_of_some_rows_are_not_compared(benchmark: dict[str, Any]) -> None:
    """Of a convolution the authors' ranks and W are of a sample of its places; shares of units are of all."""
    net = benchmark["Net"]("conv", _small_convolution(), (1, 8, 8), 1.0)
    tags = [*benchmark["authors"](net)]
    assert set(tags) - set(benchmark["comparable"](net, tags)) == {
        f"{name}/hidden0" for name in ("effective_rank", "participation_ratio", "shapiro")
    }
    assert benchmark["compare"](net).startswith("9 of 12")


def _small_convolution() -> torch.nn.Sequential:
    torch.manual_seed(1)
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 2))


def test_a_verdict_says_what_was_wanted(benchmark: dict[str, Any]) -> None:
    """Both ways round."""
    contender = benchmark["Contender"]
    assert contender(lambda: None, "other", (">=", 4.0)).verdict(3.9) == ">= 4: missed"
    assert contender(lambda: None, "other", ("<=", 15.0)).verdict(3.9) == "<= 15: met"
