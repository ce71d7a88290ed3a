"""The effects that lopgym is about, with margins stated beforehand and seeds fixed: loss, and what regains it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lopgym.record import RunFolder, repeatable
from lopgym.studies.evidence import COMPARISONS, Comparison, Evidence, evidence_of

SEEDS = range(5)


@pytest.mark.slow
def test_dqn_loses_its_plasticity_on_catch_and_redo_gives_it_back(tmp_path: Path) -> None:
    """Last quarter against a fresh network: none at least 0.5 below, ReDo from task 14 on not more than 0.1 below."""
    evidence = evidence_of("catch_dqn", SEEDS, tmp_path, workers=2)
    print(evidence.table())
    assert evidence.gaps("none").mean() <= -0.5
    assert evidence.gaps("redo@14").mean() >= -0.1
    for seed in SEEDS:
        runs = [RunFolder(tmp_path / "catch_dqn" / name / f"seed-{seed}") for name in ("none", "redo@14")]
        none, treated = (repeatable(run.metrics, until=14 * 800) for run in runs)
        assert none == treated
        assert len(none) > 14 * 8


@pytest.mark.slow
def test_ppo_loses_its_plasticity_on_the_label_bandit_and_three_methods_keep_it(tmp_path: Path) -> None:
    """Last 5 tasks against a fresh network: none at least 0.12 below, the methods not more than 0.03 below."""
    evidence = evidence_of("label_bandit_ppo", SEEDS, tmp_path, workers=2)
    print(evidence.table())
    assert evidence.gaps("none").mean() <= -0.12
    for method in ("redo", "cbp", "shrink_perturb"):
        assert evidence.gaps(method).mean() >= -0.03, method


def test_the_table_pairs_each_variant_with_the_reference_of_its_seed() -> None:
    """Means, ranges and differences, worked out by hand."""
    comparison = Comparison({"none": {}, "fresh": {}}, "task/final", last=2)
    scores = {"none": np.array([[1.0, 0.0, 0.2], [1.0, 0.4, 0.4]]), "fresh": np.array([[0, 0.5, 0.7], [0, 0.6, 0.6]])}
    evidence = Evidence(comparison, (0, 1), scores)
    assert evidence.gaps("none") == pytest.approx([-0.5, -0.2])
    assert "| none | +0.250 [+0.100, +0.400] | -0.350 [-0.500, -0.200] | +0.10 / +0.40 |" in evidence.table()


def test_every_comparison_has_its_reference() -> None:
    """A paired difference needs something to be paired with."""
    assert all("fresh" in comparison.variants for comparison in COMPARISONS.values())
