"""Which probes foretell the next task: made-up runs of known correlation, and numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lopgym.record import RunFolder
from lopgym.studies.compose import from_keywords
from lopgym.studies.gathering import gather
from lopgym.studies.parallel import RunsFailed
from lopgym.studies.probe_evidence import Readings, correlations, foretells, read, redundant, table
from lopgym.studies.run import run_path

Floats = NDArray[np.float64]


def readings(returns: Floats, **probes: Floats) -> Readings:
    """Make readings of these probes."""
    return Readings({f"probe/{name}/q.hidden0": values for name, values in probes.items()}, returns)


def test_the_raw_correlation_by_hand() -> None:
    """Without ties, rho = 1 - 6 sum d^2 / (n (n^2 - 1)): here d = 0 1 1 1 1, so 1 - 24 / 120."""
    sample = np.array([[0.1, 1, 0], [10.0, 2, 1], [3.0, 3, 2], [99.0, 4, 3], [50.0, 5, 4]])
    assert correlations(sample)[0] == pytest.approx(0.8)


def test_the_detrended_correlation_is_that_of_what_a_line_over_the_task_leaves_of_the_ranks() -> None:
    """The closed form against residuals of least squares, on untied columns with a common trend."""
    rng = np.random.default_rng(0)
    task = np.arange(30.0)
    sample = np.stack([task + 9 * rng.normal(size=30), 9 * rng.normal(size=30) - task, task], axis=1)
    left = []
    for column in sample.T[:2]:
        ranks = np.argsort(np.argsort(column)).astype(float)
        left.append(ranks - np.polyval(np.polyfit(task, ranks, 1), task))
    assert correlations(sample)[1] == pytest.approx(np.corrcoef(left)[0, 1])


@pytest.mark.parametrize("constant", [0, 1])
def test_what_does_not_vary_has_no_correlation(constant: int) -> None:
    """NaN, not a warning and not 0."""
    sample = np.random.default_rng(0).normal(size=(9, 3))
    sample[:, constant] = 1.0
    assert np.isnan(correlations(sample)).all()


def test_a_probe_of_known_correlation_is_told_from_a_mere_trend_and_from_noise() -> None:
    """Normal variables of correlation r have Spearman's 6 / pi asin(r / 2): 0.786 for r = 0.8."""
    rng = np.random.default_rng(1)
    shape = (1, 40, 20)
    task = np.broadcast_to(np.arange(20.0), shape)
    luck = rng.normal(size=shape)
    knows = 0.8 * luck + 0.6 * rng.normal(size=shape)
    still = readings(luck, knows=knows, noise=rng.normal(size=shape))
    falling = readings(luck - task, trend=task + 0.1 * rng.normal(size=shape), knows=knows - task)
    raw, _ = foretells(still, "probe/knows/q.hidden0", draws=200)
    truth = 6 / np.pi * np.arcsin(0.4)
    assert raw.low < truth < raw.high
    assert raw.high - raw.low < 0.1
    assert raw.beyond
    noise = foretells(still, "probe/noise/q.hidden0", draws=200)
    assert all(estimate.low < 0 < estimate.high for estimate in noise)
    assert not any(estimate.beyond for estimate in noise)
    raw, detrended = foretells(falling, "probe/trend/q.hidden0", draws=200)
    assert raw.value < -0.9  # time alone
    assert not raw.beyond
    assert abs(detrended.value) < 0.1
    _, detrended = foretells(falling, "probe/knows/q.hidden0", draws=200)
    assert detrended.beyond
    assert detrended.value > 0.6


def test_the_interval_resamples_seeds_not_pairs() -> None:
    """Tasks that repeat a seed's pair bring no new witness: the interval is that of one task a seed."""
    rng = np.random.default_rng(2)
    probe, returns = rng.normal(size=(2, 1, 12, 1))
    one = readings(returns, p=probe)
    many = readings(np.repeat(returns, 15, axis=2), p=np.repeat(probe, 15, axis=2))
    first, again = (foretells(each, "probe/p/q.hidden0", draws=100)[0] for each in (one, many))
    assert (again.value, again.low, again.high) == pytest.approx((first.value, first.low, first.high))
    assert first.low < first.value < first.high


def test_a_common_past_counts_once() -> None:
    """The treated variant equals the untreated before its treatment; that adds no pair and changes no number."""
    rng = np.random.default_rng(3)
    probe, returns = rng.normal(size=(2, 1, 6, 10))
    alone = readings(returns, p=probe)
    twice = readings(np.concatenate([returns] * 2), p=np.concatenate([probe] * 2))
    assert twice.new.sum() == 60
    assert foretells(twice, "probe/p/q.hidden0", draws=50) == foretells(alone, "probe/p/q.hidden0", draws=50)
    twice.probes["probe/p/q.hidden0"][1, :, 7:] += 1
    assert Readings(twice.probes, twice.returns).new.sum() == 60 + 6 * 3


def test_few_seeds_have_no_null_to_be_beyond() -> None:
    """Three seeds can be dealt to one another in two ways: no percentile of two values is a limit."""
    probe = np.random.default_rng(6).normal(size=(1, 5, 9))
    few, enough = (readings(probe[:, :seeds], p=probe[:, :seeds]) for seeds in (3, 5))
    assert [foretells(each, "probe/p/q.hidden0", draws=50)[0].beyond for each in (few, enough)] == [False, True]


def test_one_seed_is_not_enough() -> None:
    """There is nothing to resample."""
    with pytest.raises(ValueError, match="there is one"):
        foretells(readings(np.zeros((1, 1, 5)), p=np.zeros((1, 1, 5))), "probe/p/q.hidden0")


def test_probes_that_say_the_same_are_grouped_and_no_chain_of_likeness() -> None:
    """Any monotone function, falling ones too, is the same; of a chain a - b - c only two are one group."""
    rng = np.random.default_rng(4)
    x, other, step = rng.normal(size=(3, 1, 5, 200))
    apart = readings(x, a=x, b=-np.exp(x), c=other, d=np.ones_like(x))
    assert redundant(apart) == [("probe/a/q.hidden0", "probe/b/q.hidden0")]
    chain = readings(x, a=x, b=x + 0.4 * step, c=x + 0.8 * step)
    assert [len(group) for group in redundant(chain)] == [2]
    assert redundant(readings(x, a=x)) == []


def test_a_probe_belongs_to_the_task_whose_step_it_was_measured_at(tmp_path: Path) -> None:
    """A value at the boundary is of the task that ends there, the last one counts, and the return is the next."""
    lines = [
        {"step": 50, "probe/p/q.hidden0": 9.0},
        {"step": 100, "probe/p/q.hidden0": 1.0},
        {"step": 100, "task/final": 0.1},
        {"step": 101, "probe/p/q.hidden0": 2.0, "probe/late/q.hidden0": 5.0},
        {"step": 200, "task/final": 0.2},
        {"step": 250, "probe/p/q.hidden0": "nan", "time/fps": 3.0},
        {"step": 300, "task/final": 0.3},
    ]
    folder = RunFolder(tmp_path)
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read([[folder]], "task/final", tasks=3, steps_per_task=100)
    assert found.returns.tolist() == [[[0.2, 0.3]]]
    assert found.probes.keys() == {"probe/late/q.hidden0", "probe/p/q.hidden0"}
    np.testing.assert_array_equal(found.probes["probe/p/q.hidden0"], [[[1.0, 2.0]]])
    np.testing.assert_array_equal(found.probes["probe/late/q.hidden0"], [[[np.nan, 5.0]]])


def test_the_table_puts_the_strongest_first_and_says_what_does_not_vary() -> None:
    """One row a probe, its layer in the name; stars where a value is outside the null."""
    rng = np.random.default_rng(5)
    returns = rng.normal(size=(1, 10, 10))
    made = readings(returns, weak=rng.normal(size=(1, 10, 10)), strong=2 * returns, flat=np.zeros((1, 10, 10)))
    rows = [line for line in table(made, draws=50) if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == ["strong/q.hidden0", "weak/q.hidden0", "flat/q.hidden0"]
    assert "+1.00\\* | [+1.00, +1.00]" in rows[0]
    assert "does not vary" in rows[2]
    assert all(row.count("|") == 8 for row in rows)


def test_half_a_run_is_no_evidence(tmp_path: Path) -> None:
    """A finished run is read; an interrupted one that cannot go on is named and neither read nor trained over."""
    plan = from_keywords("catch_dqn", runs_dir=str(tmp_path), tasks=1)
    folder = RunFolder(run_path(plan)).create()
    folder.write_about({"status": "finished"})
    assert gather({"a": plan}, workers=1) == {"a": folder}
    folder.write_about({"status": "interrupted"})
    with pytest.raises(RunsFailed, match=r"run 'a' failed: .* nobody knows which run this is"):
        gather({"a": plan}, workers=1)
