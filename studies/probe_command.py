"""The command `lopgym probe`: one look into an agent, as text, as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

from lopgym.studies.page import page
from lopgym.studies.probing import look
from lopgym.studies.reading import text
from lopgym.studies.subjects import open_subject


def probe(
    path: Path,
    task: int | None = None,
    env: str | None = None,
    trusted: bool = False,
    *,
    fresh: int = 20,
    as_json: Path | None = None,
    html: Path | None = None,
    allow_import: Collection[str] | None = None,
) -> Iterator[str]:
    """Look into an agent, write the files, and yield what to print.

    Args:
        path: run folder, checkpoint in one, or zip of Stable-Baselines3.
        task: number of the task of a run; the last by default.
        env: id of the world of a zip.
        trusted: whether a zip may be unpickled.
        fresh: how many freshly initialised networks to compare with.
        as_json: file for every number; none is written by default.
        html: file for the page; by default `probe-task-<k>.html` in the run, or beside the zip.
        allow_import: packages that a run's world may import; None allows all.

    Raises:
        CheckpointError: nothing is there, or it is damaged, or of another network than its config says.
        ValueError: what was asked does not fit the kind of file.
        FileNotFoundError: the folder of a file to write does not exist.
    """
    for wanted in filter(None, (as_json, html)):
        if not wanted.absolute().parent.is_dir():
            raise FileNotFoundError(f"{wanted}: there is no folder {wanted.parent}")
    subject = open_subject(path, task=task, env=env, trusted=trusted, allow_import=allow_import)
    seen = look(subject, fresh)
    yield text(seen)
    html = html or subject.stem.with_name(f"{subject.stem.name}.html")
    html.write_text(page(seen, subject.metrics), encoding="utf-8")
    if as_json is not None:
        as_json.write_text(json.dumps(seen.plain(), indent=2) + "\n")
        yield f"every number: {as_json}"
    yield f"look at it: {html}"
