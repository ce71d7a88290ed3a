"""The ledger of mitigations: documented defaults, quarters, and pairs."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean

import pytest

from lopgym.agents.mitigations import mitigations
from lopgym.record import read_metrics
from lopgym.studies.compose import from_keywords
from lopgym.studies.evidence import COMPARISONS
from lopgym.studies.mitigation_evidence import SHOWN, Outcome, outcome, table, variants
from tests import synthetic


@pytest.mark.parametrize("study", COMPARISONS)
def test_methods_are_at_their_documented_defaults(study: str) -> None:
    """Those that a study's file tunes, too: what a config says of them is what their signatures say."""
    departs = variants(["cbp", "redo", "shrink_perturb"])
    for name in ("cbp", "redo", "shrink_perturb"):
        (options,) = from_keywords(study, **departs[name]).plain()["mitigation"].values()
        assert options.pop("kind") == name
        assert options == {option: p.default for option, p in mitigations[name].options.items()}
    tuned = from_keywords(study, mitigation="cbp").plain()["mitigation"]["cbp"]
    assert study != "label_bandit_ppo" or tuned["replacement_rate"] != mitigations["cbp"].make().replacement_rate


def test_the_table_shows_ten_methods_and_the_two_yardsticks() -> None:
    """None of them twice."""
    assert len(set(SHOWN)) == len(SHOWN) >= 10
    assert {"none", "fresh"} == variants(SHOWN).keys() - set(SHOWN)


def test_an_outcome_is_of_quarters(tmp_path: Path) -> None:
    """The end is the last quarter of the tasks, early the first; probes are the last hidden layer's at the end."""
    folder = synthetic.record(tmp_path, "none")
    lines = [values for _, values in read_metrics(folder.metrics)]

    def of(tag: str) -> list[float]:
        return [values[tag] for values in lines if tag in values]

    quarter = synthetic.TASKS // 4
    found = outcome(folder, "task/final")
    assert found.end == pytest.approx(fmean(of("task/final")[-quarter:]))
    assert found.early == pytest.approx(fmean(of("task/auc")[:quarter]))
    ranks = of("probe/effective_rank/q.hidden1")
    assert found.rank == pytest.approx(fmean(ranks[-(len(ranks) // 4) :]))
    assert found.rank != pytest.approx(fmean(of("probe/effective_rank/q.hidden0")[-(len(ranks) // 4) :]))


def test_the_table_pairs_seeds_and_puts_the_best_first() -> None:
    """Differences of +0.1 and +0.3: mean 0.2, and Student's t of one degree of freedom times 0.1."""
    fresh = [Outcome(0.5, 0.4, 0.1, 12.0), Outcome(0.7, 0.6, 0.1, 12.0)]
    better = [Outcome(0.6, 0.3, 0.0, 20.0), Outcome(1.0, 0.5, 0.5, 10.0)]
    worse = [Outcome(-0.5, 0.4, 1.0, 1.0)] * 2
    rows = table({"none": worse, "fresh": fresh, "redo": better}, "task/final", {"redo": 1.0349}).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| redo", "| fresh", "| none"]
    t = math.tan(0.475 * math.pi)
    assert f"+0.200 [{0.2 - 0.1 * t:+.3f}, {0.2 + 0.1 * t:+.3f}]" in rows[0]
    assert rows[0].endswith("-0.100 [-0.100, -0.100] | 0.25 | 15.0 | 1.03x |")
    assert rows[1] == "| fresh |  |  | 0.10 | 12.0 |  |"
