"""The ledger of mitigations: each at its documented defaults, over seeds, beside the agent that is always fresh.

`python -m lopgym.studies.mitigation_evidence catch_dqn label_bandit_ppo --seeds 0-4 --out mitigation_evidence` trains
what is missing in `mitigation_evidence/` and prints one table a study. No option is tuned for a study: where a study's
file tunes a method, its documented default is taken all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.agents.mitigations import mitigations
from lopgym.probes.interval import interval
from lopgym.record import RunFolder, read_metrics
from lopgym.studies.config import entries
from lopgym.studies.evidence import COMPARISONS, REFERENCE
from lopgym.studies.figures import by_tag, last_layers, quarters
from lopgym.studies.gathering import command_line, gather_variants
from lopgym.studies.schema import defaults

UNTREATED = "none"
SHOWN = (
    *("redo", "cbp", "snr", "clone_release", "targeted_escape", "shrink_perturb", "l2_init", "layer_norm", "spectral"),
    *("gradient_noise", "dropout", "optimizer_reset"),
)
"""What the table shows unless told otherwise: unit recycling, perturbation, penalties, norms, and three that failed
in earlier trials."""


@dataclass(frozen=True)
class Outcome:
    """What one run comes to; probes are those of the last hidden layer, of PPO the actor's, in the last quarter.

    Args:
        end: mean score over the last quarter of the tasks.
        early: mean `task/auc` over the first quarter: how fast the agent learns before there is much to lose.
        dead: mean `dead_fraction`.
        rank: mean `effective_rank`.
    """

    end: float
    early: float
    dead: float
    rank: float


def variants(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return label -> config values of the untreated agent, the reference, and each method at its defaults."""
    documented = entries("mitigation")
    treated = {name: {"mitigation": {name: defaults(documented[name])}} for name in methods}
    return {UNTREATED: {}, REFERENCE: {"mitigation": REFERENCE}, **treated}


def outcome(folder: RunFolder, tag: str) -> Outcome:
    """Read what one run comes to, by the score `tag`."""
    table = by_tag(read_metrics(folder.metrics))

    def at_the_end(probe: str) -> float:
        return quarters(table[last_layers(table, probe)[0]][1])[-1]

    return Outcome(
        end=quarters(table[tag][1])[-1],
        early=quarters(table["task/auc"][1])[0],
        dead=at_the_end("dead_fraction"),
        rank=at_the_end("effective_rank"),
    )


def outcomes(
    study: str, methods: Sequence[str], seeds: Sequence[int], out: Path, workers: int
) -> dict[str, list[Outcome]]:
    """Train what is missing in `out`, side by side, and read every run: label -> an outcome a seed.

    Raises:
        KeyError: nothing is compared in that study, or there is no such method.
        RunsFailed: a run failed.
    """
    folders = gather_variants(study, variants(methods), seeds, out, workers)
    tag = COMPARISONS[study].tag
    return {label: [outcome(folder, tag) for folder in folders[label]] for label in folders}


def table(found: Mapping[str, Sequence[Outcome]], tag: str, costs: Mapping[str, float]) -> str:
    """Say it all in Markdown, best end first: differences to the reference of the same seed with 95 % intervals.

    Args:
        found: label -> an outcome a seed.
        tag: the score.
        costs: label -> CPU time of an update in units of one without the method, where it is known.
    """
    heads = f"| method | last-quarter `{tag}` minus {REFERENCE} | first-quarter `task/auc` minus {REFERENCE} | "
    lines = [heads + "dead fraction | effective rank | CPU per update |", "| --- | --- | --- | --- | --- | --- |"]
    reference = found[REFERENCE]
    for label in sorted(found, key=lambda label: -_mean(found[label], "end")):
        mine = found[label]
        gaps = ["", ""] if label == REFERENCE else [_paired(mine, reference, what) for what in ("end", "early")]
        dead, rank = f"{_mean(mine, 'dead'):.2f}", f"{_mean(mine, 'rank'):.1f}"
        cost = f"{costs[label]:.2f}x" if label in costs else ""
        lines.append("| " + " | ".join([label, *gaps, dead, rank, cost]) + " |")
    return "\n".join(lines)


def _values(runs: Sequence[Outcome], what: str) -> NDArray[np.float64]:
    return np.array([getattr(run, what) for run in runs])


def _mean(runs: Sequence[Outcome], what: str) -> float:
    return float(_values(runs, what).mean())


def _paired(mine: Sequence[Outcome], reference: Sequence[Outcome], what: str) -> str:
    between = interval((_values(mine, what) - _values(reference, what)).tolist())
    return f"{between.mean:+.3f} [{between.low:+.3f}, {between.high:+.3f}]"


def main() -> None:
    """Gather and print the ledger for the studies named on the command line."""
    about = "Train mitigations at their documented defaults, over seeds."
    parser = command_line(about, [*COMPARISONS], seeds="0-4", out="mitigation_evidence")
    parser.add_argument("--methods", nargs="*", default=SHOWN, choices=[entry.name for entry in mitigations])
    parser.add_argument("--costs", type=Path, help="what `benchmarks/mitigations.py --json` wrote")
    asked = parser.parse_args()
    costs = json.loads(asked.costs.read_text()) if asked.costs else {}
    for study in asked.studies:
        found = outcomes(study, asked.methods, asked.seeds, asked.out, asked.workers)
        print(f"\n## {study}, seeds {asked.seeds}\n\n{table(found, COMPARISONS[study].tag, costs)}")


if __name__ == "__main__":
    main()
