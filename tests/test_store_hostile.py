"""Checkpoints made by somebody who means harm: refused in one line, soon, in little memory, and nothing in them runs.

Their checksums fit: whoever can write a checkpoint's files can write its checksums.
"""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from lopgym.store import CheckpointError, load, save
from lopgym.store.json_text import dumps
from lopgym.store.manifest import ARRAYS, MANIFEST, STATE
from tests.stored import one_line

Make = Callable[[Path, bytes], object]  # a checkpoint's folder and a pickle that runs a command


def _reseal(path: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest whose own checksum fits, by the rule of the format: sha256 of it without the checksum."""
    manifest.pop("sha256", None)
    seal = sha256(json.dumps(manifest, indent=2).encode() + b"\n").hexdigest()
    (path / MANIFEST).write_text(json.dumps(manifest | {"sha256": seal}, indent=2) + "\n")


def _replace(path: Path, name: str, data: bytes) -> None:
    """Replace a file, and make the manifest agree."""
    manifest = json.loads((path / MANIFEST).read_bytes())
    manifest["files"][name] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    (path / name).write_bytes(data)
    _reseal(path, manifest)


def test_it_is_the_checksum_that_detects(tmp_path: Path) -> None:
    """One changed digit: refused; the same with repaired checksums: read as it stands. No luck, and no signature."""
    path = save(tmp_path, 1, {"steps": 1234}, about={})
    changed = (path / STATE).read_bytes().replace(b"1234", b"1235")
    (path / STATE).write_bytes(changed)
    with pytest.raises(CheckpointError, match="is damaged: its checksum does not fit"):
        load(path)
    _replace(path, STATE, changed)
    assert load(path).tree == {"steps": 1235}


def test_the_manifests_own_checksum_detects(tmp_path: Path) -> None:
    """The step is another and all files are whole: refused, until the seal is repaired as well."""
    path = save(tmp_path, 1, {}, about={}).rename(tmp_path / "copy")
    manifest = json.loads((path / MANIFEST).read_bytes()) | {"step": 2}
    (path / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged: its checksum does not fit"):
        load(path)
    _reseal(path, manifest)
    assert load(path).step == 2


def _code(marker: Path) -> bytes:
    """Return a pickle, written by hand, that makes a file when it is read."""
    return f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()


def _npy(descr: object, shape: tuple[int, ...] = (1,), data: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data


def _npz(*members: bytes, name: str = "{}.npy", compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for index, member in enumerate(members):
            archive.writestr(name.format(index), member)
    return buffer.getvalue()


def _overlap() -> bytes:
    """Return an archive of a hundred members that are the same megabyte."""
    member, entries = _npy("|u1", (10**6,), bytes(10**6)), 100
    archive = _npz(member)
    (first,) = (at for at in range(len(archive) - 200, len(archive)) if archive[at : at + 4] == b"PK\1\2")
    entry, end = archive[first:-22], archive[-22:]
    table = b"".join(_renamed(entry, f"{index:02}.npy"[index < 10 :]) for index in range(entries))
    return archive[:first] + table + end[:8] + struct.pack("<2HL", entries, entries, len(table)) + end[16:]


def _renamed(entry: bytes, name: str) -> bytes:
    return entry[:28] + struct.pack("<H", len(name)) + entry[30:46] + name.encode()


def _contents() -> bytes:
    """Return an archive that is nothing but a long table of contents."""
    entry = _npz(b"")[35:-22]
    assert entry.startswith(b"PK\1\2")
    table = entry * 200_000
    return table + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, len(table), 0, 0)


def _state(path: Path, code: bytes, *, holds: bytes) -> None:
    _replace(path, STATE, holds)


def _node(path: Path, code: bytes, *, holds: object) -> None:
    _replace(path, STATE, dumps(holds))


def _archive(path: Path, code: bytes, *, holds: bytes) -> None:
    _replace(path, ARRAYS, holds)


def _array(path: Path, code: bytes, *, holds: bytes) -> None:
    _replace(path, ARRAYS, _npz(holds))


def _list(path: Path, code: bytes, *, holds: bytes) -> None:
    _replace(path, ARRAYS, _npz(holds))
    _replace(path, STATE, dumps({"$list": 0}))


def _objects(path: Path, code: bytes, *, descr: object) -> None:
    _replace(path, ARRAYS, _npz(_npy(descr, (1,), code)))


def _path_in_manifest(path: Path, code: bytes) -> None:
    manifest = json.loads((path / MANIFEST).read_bytes())
    manifest["files"]["../../state.json"] = manifest["files"].pop(STATE)
    _reseal(path, manifest)


def _wrong_types(path: Path, code: bytes, *, facts: dict[str, object]) -> None:
    manifest = json.loads((path / MANIFEST).read_bytes())
    _reseal(path, manifest | facts)


def _sparse(path: Path, code: bytes, *, name: str, size: int, listed: bool) -> None:
    """Make a file that says it is huge and takes no room on disk."""
    with (path / name).open("r+b") as file:
        file.truncate(size)
    if listed:
        manifest = json.loads((path / MANIFEST).read_bytes())
        manifest["files"][name]["bytes"] = size
        _reseal(path, manifest)


def _linked_folder(path: Path, code: bytes) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _linked_file(path: Path, code: bytes) -> None:
    (path / STATE).rename(path / "elsewhere")
    (path / STATE).symlink_to("elsewhere")


def _pipe(path: Path, code: bytes) -> None:
    """Nobody will ever write into it: who opens it carelessly waits for ever."""
    (path / MANIFEST).unlink()
    os.mkfifo(path / MANIFEST)


ONE, FLOAT = {"$array": 0}, "<f8"
BOMB = _npz(bytes(10**7), compression=zipfile.ZIP_DEFLATED)
HOSTILE: dict[str, tuple[Make, str]] = {
    "pickle as manifest": (lambda path, code: (path / MANIFEST).write_bytes(code), "JSONDecodeError"),
    "pickle as state": (lambda path, code: _replace(path, STATE, code), "JSONDecodeError"),
    "pickle as archive": (lambda path, code: _replace(path, ARRAYS, code), "not a zip file"),
    "pickle as array": (lambda path, code: _replace(path, ARRAYS, _npz(code)), "magic string"),
    "objects": (partial(_objects, descr="|O"), "array of Python objects is refused"),
    "objects in a field": (partial(_objects, descr=[("f", "|O")]), "array of Python objects is refused"),
    "code in a header": (partial(_array, holds=_npy(FLOAT).replace(b"'<f8'", b"id(1)")), "malformed node"),
    "path in the archive": (partial(_archive, holds=_npz(b"", name="../../{}.npy")), "not named 0.npy, 1.npy"),
    "path in the manifest": (_path_in_manifest, "lists other files than"),
    "link as state": (_linked_file, "state.json is no regular file"),
    "link as folder": (_linked_folder, "is no folder"),
    "pipe": (_pipe, "manifest.json is no regular file"),
    "huge manifest": (partial(_sparse, name=MANIFEST, size=2**33, listed=False), "expected at most 1048576"),
    "huge state": (partial(_sparse, name=STATE, size=2**33, listed=True), "expected at most 8388608"),
    "huge arrays": (partial(_sparse, name=ARRAYS, size=2**40, listed=True), "expected at most 8589934592"),
    "more than is listed": (partial(_sparse, name=ARRAYS, size=2**32, listed=False), "has 4294967296 bytes"),
    "step": (partial(_wrong_types, facts={"step": -1}), "no int from 0 to"),
    "facts": (partial(_wrong_types, facts={"about": []}), "values of wrong types"),
    "bomb": (partial(_archive, holds=BOMB), "compressed members are refused"),
    "overlapping members": (partial(_archive, holds=_overlap()), "members that overlap"),
    "table of contents": (partial(_archive, holds=_contents()), "more than 16384 members"),
    "huge shape": (partial(_array, holds=_npy(FLOAT, (10**12,))), "0 bytes that says it has 8e[+]12"),
    "negative shape": (partial(_array, holds=_npy(FLOAT, (-1, -1), bytes(8))), "dimension"),
    "deep": (partial(_state, holds=b"[" * 200_000 + b"]" * 200_000), "nested too deeply"),
    "deeper than allowed": (partial(_state, holds=b"[" * 100 + b"]" * 100), "nested more than 64 deep"),
    "wide": (partial(_state, holds=b"[" + b"[]," * 2_000_000 + b"[]]"), "values in JSON, at most 524288"),
    "digits": (partial(_state, holds=b"1" * 2_000_000), "a number of 2000000 digits; at most 25"),
    "decimals": (partial(_state, holds=b"1." + b"1" * 2_000_000), "a number of 2000002 digits; at most 25"),
    "not a number": (partial(_state, holds=b"[NaN]"), "NaN is no JSON"),
    "key twice": (partial(_state, holds=b'{"a": 1, "a": 2}'), "a key stands twice"),
    "other characters": (partial(_state, holds='["é"]'.encode()), "UnicodeDecodeError"),
    "unknown node": (partial(_node, holds={"$call\x1b[2J": 1}), r"unknown node '\$call\\x1b"),
    "node with company": (partial(_node, holds={"$int": "0x1", "a": 1}), "unknown node"),
    "no hexadecimal": (partial(_node, holds={"$int": "9" * 10**6}), "not written in hexadecimal"),
    "no such float": (partial(_node, holds={"$float": "1_0"}), "a float that is none of -inf, inf, nan"),
    "tuple of nothing": (partial(_node, holds={"$tuple": 1}), "a tuple without a list"),
    "dict of nothing": (partial(_node, holds={"$dict": [1]}), "a dict without pairs"),
    "key that is a list": (partial(_node, holds={"$dict": [[[], 1]]}), "neither str nor int"),
    "int key twice": (partial(_node, holds={"$dict": [[1, 0], [1, 0]]}), "or stands twice"),
    "array named twice": (partial(_node, holds=[ONE, ONE]), "named twice"),
    "array that is not there": (partial(_node, holds=[ONE, {"$array": 7}]), "an array that is not there"),
    "array named never": (partial(_node, holds=[]), "1 arrays are named nowhere"),
    "list that is short": (partial(_node, holds={"$list": 0}), r"a list of numbers of shape \(3,\)"),
    "list of nothing": (partial(_list, holds=_npy(FLOAT, (10**15, 0))), r"a list of numbers of shape \(10+, 0\)"),
    "list of too many": (partial(_list, holds=_npy("|b1", (2**22, 1), bytes(2**22))), "a list of numbers of shape"),
    "list of texts": (partial(_list, holds=_npy("<U1", (99,), bytes(396))), "a list of numbers .* dtype <U1"),
    "scalar that is an array": (partial(_node, holds={"$scalar": 0}), r"a scalar of shape \(3,\)"),
}


# What code would have to do to do harm, as the interpreter announces it.
DEEDS = (
    "pickle.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "subprocess.",
    "socket.",
    "ctypes.",
)


class _Watch:
    """Notes deeds while it is open. The interpreter never lets go of who listens to it: there is one."""

    def __init__(self) -> None:
        self.open, self.seen = False, list[str]()
        sys.addaudithook(self.heard)

    def heard(self, event: str, _: object) -> None:
        if self.open and event.startswith(DEEDS):
            self.seen.append(event)


@cache
def _watch() -> _Watch:
    return _Watch()


@contextmanager
def _bounded(seconds: float = 2, size: float = 500e6, patience: float = 60) -> Iterator[None]:
    """Hold a block to so many seconds of work, bytes of memory and no deed; wait `patience` seconds for its end."""

    def enough(*_: object) -> None:
        raise TimeoutError(f"not done in {patience} s")

    watch, before = _watch(), signal.signal(signal.SIGALRM, enough)
    watch.seen.clear()
    signal.setitimer(signal.ITIMER_REAL, patience)
    tracemalloc.start()
    began, watch.open = time.process_time(), True
    try:
        yield
        watch.open = False
        assert watch.seen == []
        assert time.process_time() - began < seconds, "too much work"
        assert tracemalloc.get_traced_memory()[1] < size, "too much memory"
    finally:
        watch.open = False
        tracemalloc.stop()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _refused(root: Path, make: Make, said: str) -> None:
    """Make a checkpoint hostile and load it: refused in two seconds of work and 500 MB, in one line; nothing ran."""
    path = save(root, 1, {"w": np.zeros(3)}, about={})
    make(path, _code(root / "it-ran"))
    with _bounded(), pytest.raises(CheckpointError, match=said) as caught:
        load(path)
    one_line(caught.value, path)
    assert caught.value.exit_code == 3
    assert not (root / "it-ran").exists()


@pytest.mark.fault("F8")
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_checkpoint_is_refused_and_nothing_runs(tmp_path: Path, case: str) -> None:
    """Code in every slot, links, sizes that lie, bombs, nonsense."""
    _refused(tmp_path, *HOSTILE[case])


@pytest.mark.fault("F8")
@pytest.mark.slow
def test_as_much_json_as_is_allowed_is_bearable(tmp_path: Path) -> None:
    """Half a million values: what they become in memory is bounded."""
    _refused(tmp_path, partial(_state, holds=b"[" + b"{}," * 262_000 + b"{}]"), "named nowhere")


def test_the_hostile_code_would_run(tmp_path: Path) -> None:
    """The payload is alive: the wrong reader lets it make its file."""
    (tmp_path / "payload").write_bytes(_code(tmp_path / "it-ran"))
    subprocess.run([sys.executable, "-m", "pickle", str(tmp_path / "payload")], capture_output=True, check=True)
    assert (tmp_path / "it-ran").exists()


@pytest.mark.parametrize(
    ("deed", "raised", "said"),
    [
        (lambda: sum(range(10**5)), AssertionError, "too much work"),
        (lambda: np.zeros(10**6), AssertionError, "too much memory"),
        (lambda: os.system("true"), AssertionError, "os.system"),
        (lambda: os.spawnlp(os.P_WAIT, "true", "true"), AssertionError, "os.fork"),
        (lambda: time.sleep(60), TimeoutError, "not done in"),
    ],
    ids=["work", "memory", "command", "process", "waiting"],
)
def test_the_bounds_are_held(deed: Callable[[], object], raised: type[Exception], said: str) -> None:
    """Each of them is noticed."""
    seconds, patience = 1e-4 if said == "too much work" else 60, 0.2 if raised is TimeoutError else 60
    with pytest.raises(raised, match=said), _bounded(seconds, 10**6, patience):
        deed()
