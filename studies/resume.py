"""Resume: where a run that was cut off goes on from, and whether it may."""

from __future__ import annotations

import difflib
import errno
import json
import os
import shlex
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lopgym.record import RunFolder, hold_lines
from lopgym.registry import nearest
from lopgym.store import Saved, checkpoints, newest
from lopgym.studies.compose import Config, ConfigError, from_file
from lopgym.studies.notices import notice

EXACT = ("versions", "threads", "device", "platform")  # facts on which it depends whether a run goes on bit for bit
_MOST_FOLDERS = 1_000  # that are looked into for runs that may have been meant
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class CannotResume(Exception):  # noqa: N818  an error in its name would say no more
    """A run cannot go on from what is there, or not with what was asked for; a line for each reason."""

    exit_code = 3

    def __init__(self, *lines: str) -> None:
        """Keep the lines."""
        self.lines = lines
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class Terms:
    """On what terms a run goes on.

    Args:
        strict: not where it may not be bit for bit.
        from_start: begin again where there is nothing to go on from. False: never; None: if it has kept nothing yet, as
            when it is started again; True: also if nothing that it kept can be read.
        changed: keys of its config that may differ from what they were.
    """

    strict: bool = False
    from_start: bool | None = None
    changed: Collection[str] = ()


def config_of(path: Path, allow_import: Collection[str] | None = None) -> Config:
    """Return the config of the run in the folder `path`, wherever that was moved.

    Raises:
        CannotResume: there is no run, or the folder is not named as its config says.
        ConfigError: the config is none, or its world would import what is not allowed.
        OSError: links lead round in a circle, or a file is where a folder should be.
    """
    folder = RunFolder(_resolved(path))
    if not folder.config.is_file():
        raise CannotResume(f"{path} is not a run folder: it has no config.yaml{_meant(path)}")
    config = from_file(folder.config, allow_import=allow_import)
    named = (config.study, config.variant, f"seed-{config.seed}")
    if folder.path.parts[-3:] != named:
        raise CannotResume(f"{path} holds a run whose folder is called {'/'.join(named)}: call it that, and go on")
    return config.model_copy(update={"runs_dir": folder.path.parents[2]})


def _resolved(path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    except FileNotFoundError:
        raise CannotResume(f"{path} is not a run folder: it does not exist{_meant(path)}") from None
    except RuntimeError:  # Python 3.11 and 3.12
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None


def _meant(path: Path) -> str:
    """Say which run was probably meant, if there are any around."""
    around = next(place for place in (path, *path.parents) if place.is_dir())
    found = sorted(map(str, _runs_below(around)))
    alike = sorted(found, key=lambda run: difflib.SequenceMatcher(None, str(path), run).ratio())[-3:]
    return f"; {nearest(str(path), alike)}" if alike else ""


def _runs_below(folder: Path) -> Iterator[Path]:
    """Yield run folders, near ones first; links are not followed, and not everything is looked into."""
    folders = deque([folder])
    for _ in range(_MOST_FOLDERS):
        if not folders:
            return
        for entry in _entries(folders.popleft()):
            if os.path.isfile(entry / "config.yaml"):
                yield entry
            elif os.path.isdir(entry) and not entry.is_symlink():
                folders.append(entry)


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, nothing if that cannot be read."""
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def finished(folder: RunFolder) -> bool:
    """Whether a run was trained to its end in `folder`.

    Raises:
        CannotResume: its `run.json` is damaged.
    """
    try:
        return folder.finished
    except _UNREADABLE as error:
        raise CannotResume(f"{folder.about} cannot be read, so nobody knows how far this run is: {error}") from None


def starting_point(folder: RunFolder, config: Config, about: Mapping[str, Any], terms: Terms = Terms()) -> Saved | None:
    """Return the checkpoint from which the run in `folder` goes on, None if it begins at its beginning.

    Nothing is changed.

    Args:
        folder: of the run.
        config: with which it is to go on.
        about: facts about this process, of which those in `EXACT` are held to the checkpoint's.
        terms: on which it may.

    Raises:
        FileExistsError: the run is finished, or was begun with another config.
        CannotResume: it may not be exact, though that is asked for; nothing that was kept can be read.
        LinesLost: lines are missing that it had written by then.
    """
    if not folder.about.exists() and not checkpoints(folder.checkpoints):
        return None
    at_its_end = finished(folder)
    if at_its_end and "tasks" not in terms.changed:
        raise FileExistsError(f"{folder.path} holds a run already; {_offers(folder, ' tasks=N', 'makes it longer')}")
    _hold_config(folder, config, terms.changed)
    saved = _newest(folder, terms, at_its_end)
    if saved is not None:
        _hold_exact(folder, saved, config, about, terms)
        _tell_what_is_done_again(folder, saved)
    return saved


def _offers(folder: RunFolder, words: str, does: str) -> str:
    return f"`{_command(folder)}{words}` {does}; to begin another one: variant=NAME, or another seed or runs_dir"


def _command(folder: RunFolder) -> str:
    return f"lopgym resume {shlex.quote(str(folder.path))}"


def lines_of(folder: RunFolder) -> dict[str, Path]:
    """Return the files of lines that a run appends to, by name."""
    return {"metrics": folder.metrics, "spectra": folder.spectra}


def _newest(folder: RunFolder, terms: Terms, at_its_end: bool) -> Saved | None:
    saved, skipped = newest(folder.checkpoints)
    if saved is None and at_its_end:
        raise CannotResume(*skipped, f"{folder.path} is finished, and has no checkpoint from which it could go on")
    begin = f"`{_command(folder)} --from-start` begins it again"
    if saved is None and skipped and not terms.from_start:
        raise CannotResume(*skipped, f"{folder.path}: none of its {len(skipped)} checkpoints can be read; {begin}")
    if saved is None and terms.from_start is False:
        raise CannotResume(f"{folder.path} has no checkpoint yet; {begin}")
    for line in skipped:
        notice(f"warning: {line}; skipped")
    if saved is None:
        notice(f"{folder.path} has no checkpoint {'left' if skipped else 'yet'}: it begins again")
    return saved


def _hold_config(folder: RunFolder, config: Config, changed: Collection[str]) -> None:
    try:
        was = from_file(folder.config, allow_import=None).plain()
    except (OSError, ConfigError) as error:
        raise CannotResume(f"{folder.config} cannot be read, so nobody knows which run this is: {error}") from None
    apart = [said for key, said in differences(was, config.plain()) if key not in changed]
    if apart:
        more = f" and {len(apart) - 3} more" if len(apart) > 3 else ""
        raise FileExistsError(
            f"{folder.path} holds a run that was begun otherwise: {'; '.join(apart[:3])}{more}; "
            f"{_offers(folder, '', 'lets that one go on')}"
        )


def differences(was: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Say what differs between two nested configs, key by key; where a run lies is no part of what it is."""
    for key in sorted({*was, *now} - (set() if above else {"runs_dir"})):
        name, then, here = f"{above}{key}", was.get(key), now.get(key)
        if isinstance(then, dict) and isinstance(here, dict):
            yield from differences(then, here, f"{name}.")
        elif then != here:
            yield name, f"{name} was {then!r} and is {here!r}"


def _hold_exact(folder: RunFolder, saved: Saved, config: Config, about: Mapping[str, Any], terms: Terms) -> None:
    _hold_kind(folder, saved, config)
    apart = [said for _, said in differences(facts(saved.about), facts(about))]
    if "tasks" in terms.changed and _goes_by_length(config):
        apart.append(f"exploration_fraction is a share of the run, which had another length than {config.tasks} tasks")
    if apart:
        line = f"{folder.path} may not go on bit for bit: {'; '.join(apart)}"
        if terms.strict:
            raise CannotResume(line)
        notice(f"warning: {line}")


def _hold_kind(folder: RunFolder, saved: Saved, config: Config) -> None:
    """Hold the checkpoint to be one of a run, whose lines it knows, with the agent of `config`."""
    from lopgym.agents import agents

    own = agents[config.agent.kind].facts["algorithm"].__name__
    try:
        other, ends = saved.tree["parts"]["agent"]["algorithm"], saved.tree["files"]
        sound = ends.keys() == lines_of(folder).keys() and all(type(end) is int and end >= 0 for end in ends.values())
    except _UNREADABLE:
        sound = False
    if not sound:
        raise CannotResume(f"{saved.path} is a checkpoint of something else than a run")
    if other != own:
        raise CannotResume(f"{saved.path} is a checkpoint of a {other}, and the run's agent is a {own}")
    for name, path in lines_of(folder).items():
        hold_lines(path, ends[name])


def _goes_by_length(config: Config) -> bool:
    """Whether exploration falls over the whole run."""
    return hasattr(config.agent, "exploration_fraction") and config.task_change.model_dump()["exploration"] == "keep"


def _tell_what_is_done_again(folder: RunFolder, saved: Saved) -> None:
    """Say how much was done after the checkpoint, as far as that was recorded."""
    reached = saved.step
    with suppress(*_UNREADABLE), folder.metrics.open("rb") as lines:
        lines.seek(saved.tree["files"]["metrics"])
        for line in lines:
            reached = json.loads(line)["step"]
    if reached > saved.step:
        again = f"{reached - saved.step} steps are done again"
        notice(f"{folder.path} goes on from step {saved.step}; it had come to step {reached}: {again}")


def facts(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return those facts about a process on which exactness depends."""
    return {name: about[name] for name in EXACT if name in about}
