"""Beginning: what is changed in a run's folder when the run begins, or once all is taken back from which it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lopgym.record import RunFolder, cut
from lopgym.store import Saved
from lopgym.studies.compose import Config
from lopgym.studies.resume import lines_of


@dataclass
class Beginning:
    """The moment from which on the folder is that of a run under way.

    Args:
        folder: of the run.
        config: of the run, which may have become longer.
        about: facts for `run.json`.
        start: the checkpoint from which it goes on, None if it begins at its beginning.
        done: whether it has come.
    """

    folder: RunFolder
    config: Config
    about: Mapping[str, Any]
    start: Saved | None
    done: bool = False

    def __call__(self) -> None:
        """Note that the run is under way, and how long it is now, and cut off the lines that will be written again.

        Wherever this is cut off itself, the run can go on: until a new one has its status it has not begun, and until
        a finished one is under way again it is not longer.
        """
        notes = [self._note_config, self._note_status]
        for note in notes if self.start is None else reversed(notes):
            note()
        for name, path in lines_of(self.folder).items():
            cut(path, 0 if self.start is None else self.start.tree["files"][name])
        self.done = True

    def _note_config(self) -> None:
        self.folder.write_config(self.config.plain())

    def _note_status(self) -> None:
        self.folder.write_about({**self.about} | {"status": "running"})
