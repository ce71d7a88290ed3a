"""The evidence behind README: variants of a study over seeds, each paired with the reference of the same seed.

`python -m lopgym.studies.evidence catch_dqn label_bandit_ppo --seeds 0-4 --out evidence` trains what is missing in
`evidence/` and prints one table a study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.record import series
from lopgym.studies import demo
from lopgym.studies.gathering import command_line, gather_variants

REFERENCE = "fresh"


@dataclass(frozen=True)
class Comparison:
    """What is compared in one study.

    Args:
        variants: label -> config values by which it departs from the study; `fresh` among them is the reference.
        tag: the score of a task.
        last: how many tasks at the end are averaged.
    """

    variants: Mapping[str, Mapping[str, Any]]
    tag: str
    last: int


COMPARISONS = {
    demo.STUDY: Comparison(demo.VARIANTS, "task/final", 6),
    "label_bandit_ppo": Comparison(
        {name: {"mitigation": name} for name in ("none", "redo", "cbp", "shrink_perturb", "fresh")}, "task/auc", 5
    ),
}


@dataclass(frozen=True)
class Evidence:
    """The score of every task of every variant and seed.

    Args:
        comparison: what was compared.
        seeds: of the runs, S of them.
        scores: label -> (S, K), a row a seed, a column a task.
    """

    comparison: Comparison
    seeds: tuple[int, ...]
    scores: Mapping[str, NDArray[np.float64]]

    def ends(self, label: str) -> NDArray[np.float64]:
        """Return the mean score over the last tasks, (S,)."""
        ends: NDArray[np.float64] = self.scores[label][:, -self.comparison.last :].mean(axis=1)
        return ends

    def gaps(self, label: str) -> NDArray[np.float64]:
        """Return the paired differences to the reference of the same seed, and so of the same world, (S,)."""
        return self.ends(label) - self.ends(REFERENCE)

    def table(self) -> str:
        """Say it all in Markdown: mean and range over seeds, of the score and of the paired difference."""
        title = f"mean `{self.comparison.tag}` over the last {self.comparison.last} tasks"
        lines = [f"| variant | {title} | minus {REFERENCE}, paired | by seed |", "| --- | --- | --- | --- |"]
        for label in self.scores:
            gap = "" if label == REFERENCE else _spread(self.gaps(label))
            by_seed = " / ".join(f"{value:+.2f}" for value in self.ends(label))
            lines.append(f"| {label} | {_spread(self.ends(label))} | {gap} | {by_seed} |")
        return "\n".join(lines)


def evidence_of(study: str, seeds: Sequence[int], out: Path, workers: int) -> Evidence:
    """Train what is missing in `out`, side by side, and read every run.

    Raises:
        KeyError: nothing is compared in that study.
        RunsFailed: a run failed.
    """
    comparison = COMPARISONS[study]
    folders = gather_variants(study, comparison.variants, seeds, out, workers)
    scores = {
        label: np.array([series(folder.metrics, comparison.tag)[1] for folder in folders[label]]) for label in folders
    }
    return Evidence(comparison, tuple(seeds), scores)


def _spread(values: NDArray[np.float64]) -> str:
    return f"{values.mean():+.3f} [{values.min():+.3f}, {values.max():+.3f}]"


def main() -> None:
    """Gather and print the evidence for the studies named on the command line."""
    about = "Train the variants of a study over seeds and compare them in pairs."
    asked = command_line(about, [*COMPARISONS], seeds="0-4", out="evidence").parse_args()
    for study in asked.studies:
        print(
            f"\n## {study}, seeds {asked.seeds}\n\n{evidence_of(study, asked.seeds, asked.out, asked.workers).table()}"
        )


if __name__ == "__main__":
    main()
