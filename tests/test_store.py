"""Checkpoints: every tree comes back bit for bit, the last ones are kept, and damage is found and said."""

import errno
import json
import math
import os
import random
import shutil
import stat
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lopgym.store.reading
from lopgym.store import CheckpointError, StorageError, load, newest, save
from lopgym.store.arrays import pack, unpack
from lopgym.store.json_text import dumps, loads
from lopgym.store.manifest import ARRAYS, LIMITS, MANIFEST, STATE
from lopgym.store.tree import DEPTH, decode, encode
from tests.stored import ABOUT, FIRST, SECOND, names, one_line, planted, same


def _through(tree: Any) -> Any:
    """Return what comes back of a tree through the bytes of its files."""
    node, arrays = encode(tree)
    return decode(loads(dumps(node)), unpack(pack(arrays)))


DTYPES = ["?", "u1", "i8", ">i4", "f2", "f4", "f8", "c8", "S3", "U2", "M8[ns]", [("a", "<f2"), ("b", "?", (2,))]]
ARRAYS_DRAWN = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=3))
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | ARRAYS_DRAWN
    | hnp.from_dtype(np.dtype("f4"))
)
KEYS = st.text(max_size=3) | st.sampled_from(["$array", "$dict", "$"]) | st.integers(-(2**70), 2**70)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.dictionaries(st.text(max_size=2), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(TREES)
@settings(max_examples=100)
def test_any_tree_comes_back_bit_for_bit(tree: Any) -> None:
    """Values, types, order of keys, dtypes, shapes, layout."""
    assert same(_through(tree), tree)


AWKWARD = {
    "negative zero": -0.0,
    "smallest": 5e-324,
    "not finite": [math.nan, math.inf, -math.inf],
    "ints": [2**53 - 1, 2**53, -(2**80), 10**5000, True, 0],
    "strings": ["", "\0", "\ud800", "é", "$array"],
    "keys": {1: "int", "1": "str", -(2**90): 0, "": 1},
    "marked": {"$array": 0},
    "containers": [(), [], {}, ((1,), [(2,)])],
    "arrays": [
        np.empty((0, 3), "u1"),
        np.array(3.5, "f2"),
        np.asfortranarray(np.ones((2, 3))),
        np.array([True, False]),
    ],
    "swapped": np.arange(3, dtype=">i2"),
    "scalars": [np.float64(0.1), np.float32(-0.0), np.bool_(True), np.uint8(255), np.str_("x")],
    "nan with a payload": np.array([0x7FF0000000000001, 0xFFF8DEADBEEF0000], "u8").view("f8"),
}


@pytest.mark.parametrize(
    ("long", "arrays"),
    [
        ([True, False] * 40, 1),
        ([0.1, -0.0, math.inf, math.nan] * 40, 1),
        ([2**63 - 1, -(2**63)] * 40, 1),
        ([[1.0, 2.0], [3.0, 4.0]] * 40, 1),
        ([2**63] * 80, 0),
        ([1, 2.0] * 40, 0),
        ([True, 1] * 40, 0),
        ([[1.0], [2.0, 3.0]] * 40, 0),
        ([[1.0, 2]] * 80, 0),
        ([[]] * 80, 0),
        ([[[1.0]]] * 80, 0),
        ([None] * 80, 0),
        ((1.0,) * 80, 0),
        ([1.0] * 63, 0),
    ],
)
def test_long_lists_of_numbers_are_kept_as_arrays(long: Any, arrays: int) -> None:
    """Of one type, in one list or in lists of one length; whatever else they are comes back as it was, too."""
    assert len(encode(long)[1]) == arrays
    assert same(_through(long), long)


def test_a_world_of_very_many_copies_is_kept() -> None:
    """What it says of each copy are lists: more items than a checkpoint may have in JSON."""
    state = {name: [[float(i)] * 30 for i in range(20_000)] for name in ("seen", "before")}
    assert len(dumps(encode(state)[0])) < 100
    assert same(_through(state), state)


def test_awkward_values_come_back_from_disk(tmp_path: Path) -> None:
    """Step and facts too, from the folder that `save` names; arrays can be written to."""
    path = save(tmp_path / "new" / "root", 7, AWKWARD, about=ABOUT)
    saved = load(path)
    assert path.name == "ckpt-000000000007"
    assert same([saved.step, saved.tree, saved.about, saved.path], [7, AWKWARD, ABOUT, path])
    saved.tree["swapped"][:] = 0


def test_numpy_opens_the_arrays_and_json_the_rest(tmp_path: Path) -> None:
    """The files are plain: nobody needs this package to read them."""
    path = save(tmp_path, 1, {"w": np.arange(3), "lr": 0.1}, about=ABOUT)
    assert np.load(path / ARRAYS)["0"].tolist() == [0, 1, 2]
    assert json.loads((path / STATE).read_text()) == {"w": {"$array": 0}, "lr": 0.1}
    assert json.loads((path / MANIFEST).read_text())["about"]["threads"] == 1


def test_equal_trees_make_equal_bytes(tmp_path: Path) -> None:
    """No clock and no order of hashing gets in; an ordered dict is a dict."""
    one = save(tmp_path / "one", 1, planted(1), about=ABOUT)
    other = save(tmp_path / "other", 1, OrderedDict(planted(1)), about=ABOUT)
    assert [(one / name).read_bytes() for name in LIMITS] == [(other / name).read_bytes() for name in LIMITS]


Point = namedtuple("Point", "x y")
CYCLE: list[Any] = []
CYCLE.append(CYCLE)
UNKEPT = {
    "a set": ({"a": [{1}]}, "a/0: cannot keep a builtins.set; allowed: None, bool, "),
    "a subclass": ({"p": Point(1, 2)}, "p: cannot keep a "),
    "a mask": ({"m": np.ma.array([1])}, "m: cannot keep a numpy.ma"),
    "objects": ({"o": np.array([object()])}, "o: cannot keep an array of Python objects"),
    "an object in a field": (np.zeros(1, [("f", "O")]), "the tree: cannot keep an array of Python objects"),
    "a thousand fields": (np.zeros(1, [(f"f{i}", "f4") for i in range(1000)]), "cannot keep an array of dtype"),
    "a key": ({"k": {1.5: 0}}, "k: the key 1.5 is a float; keys are str or int"),
    "a bool as key": ({True: 0}, "the key True is a bool"),
    "a cycle": (CYCLE, f"0/0/0: nested more than {DEPTH} deep"),
    "too many values": ([None] * (2**19 + 1), "numbers belong into arrays"),
    "too long a text": ("x" * 2**23, f"{STATE} would have 8388610 bytes, at most 8388608 are allowed"),
    "too many arrays": ([np.zeros(0)] * (2**14 + 1), "16385 arrays; at most 16384: stack"),
}


@pytest.mark.parametrize("case", UNKEPT)
def test_what_would_not_come_back_is_not_saved(tmp_path: Path, case: str) -> None:
    """One line with the place in the tree; nothing is written."""
    tree, said = UNKEPT[case]
    with pytest.raises(CheckpointError) as caught:
        save(tmp_path, 1, tree, about={})
    assert said in one_line(caught.value, tmp_path / FIRST)
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_at_the_limits_was_written_there() -> None:
    """The deepest tree that is kept comes back."""
    deep: Any = 1
    for _ in range(DEPTH):
        deep = ({"$": deep},)[0]
    assert same(_through(deep), deep)


def test_arrays_belong_into_the_tree_and_steps_into_the_name(tmp_path: Path) -> None:
    """Misuse is named."""
    with pytest.raises(CheckpointError, match="`about` is for short facts"):
        save(tmp_path, 1, {}, about={"a": np.zeros(1)})
    for step in (-1, 10**12, True, 1.0):
        with pytest.raises(ValueError, match="is no int from 0 to 999999999999"):
            save(tmp_path, step, {}, about={})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="keep=0; at least 1"):
        save(tmp_path, 1, {}, about={}, keep=0)


def test_the_last_k_are_kept_and_other_files_left_alone(tmp_path: Path) -> None:
    """Names that only resemble a checkpoint's are nobody's business."""
    others = ["best.npz", "ckpt-1", "ckpt-0000000000001", ".tmp-mine", "ckpt-00000000000\u0661"]
    for name in others:
        (tmp_path / name).write_text("mine")
    for step in (10, 20, 30, 40):
        save(tmp_path, step, planted(step), about={}, keep=2)
    assert names(tmp_path) == sorted([*others, "ckpt-000000000030", "ckpt-000000000040"])
    assert newest(tmp_path)[0].step == 40  # type: ignore[union-attr]


def test_later_checkpoints_do_not_push_out_the_one_just_saved(tmp_path: Path) -> None:
    """A run resumed from an older one, because the newer were damaged, must not lose what it saves."""
    for step in (10, 20, 30):
        (save(tmp_path, step, planted(step), about={}) / STATE).write_text("{}")
    save(tmp_path, 5, planted(5), about={}, keep=1)
    saved, skipped = newest(tmp_path)
    assert saved is not None
    assert same(saved.tree, planted(5))
    assert len(skipped) == 3


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    """A damaged one or a good one, even a link or a file of that name."""
    place = save(tmp_path, 1, planted(1), about={})
    save(tmp_path, 1, planted(2), about={})
    assert same(load(place).tree, planted(2))
    shutil.rmtree(place)
    place.symlink_to(tmp_path.parent)
    save(tmp_path, 1, planted(3), about={})
    assert same(load(place).tree, planted(3))
    assert names(tmp_path) == [place.name]
    assert tmp_path.parent.exists()


def test_no_checkpoint_yet_is_no_fault(tmp_path: Path) -> None:
    """But a folder that cannot be listed is one."""
    assert newest(tmp_path / "none") == (None, [])
    assert newest(tmp_path) == (None, [])
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file: Not a directory"):
        newest(tmp_path / "file")


def _flip(data: bytes, rng: random.Random) -> bytes:
    where = rng.randrange(len(data))
    return data[:where] + bytes([data[where] ^ 1 << rng.randrange(8)]) + data[where + 1 :]


def _blank(data: bytes, rng: random.Random) -> bytes:
    """Set a stretch to zero, as a lost page would."""
    where = rng.randrange(len(data))
    until = rng.randint(where + 1, len(data))
    return data[:where] + bytes(until - where) + data[until:] if any(data[where:until]) else _blank(data, rng)


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flip": _flip,
    "blank": _blank,
    "truncate": lambda data, rng: data[: rng.randrange(len(data))],
    "append": lambda data, rng: data + rng.choice([b"\0", b"\n", b" ", rng.randbytes(7)]),
    "insert": lambda data, rng: data[: (at := rng.randrange(len(data)))] + b"0" + data[at:],
    "noise": lambda data, rng: rng.randbytes(len(data)),
}


def _link(file: Path) -> None:
    file.rename(file.with_suffix(".real"))
    file.symlink_to(file.with_suffix(".real").name)


def _mixed(file: Path) -> None:
    """Bring in the file of an older checkpoint, whole as it is."""
    shutil.copy(file.parents[1] / FIRST / file.name, file)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


REPLACEMENTS: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "link": _link,
    "mixed": _mixed,
    "folder": _folder,
    "pipe": _pipe,
}


def _drawn(rng: random.Random) -> tuple[str, str]:
    """Draw how to damage, and which file."""
    name = rng.choice([STATE, ARRAYS, MANIFEST])
    return rng.choice([*DAMAGES, *DAMAGES, *REPLACEMENTS]), name


def _corrupt(checkpoint: Path, rng: random.Random) -> str:
    """Damage one file in one way, drawn; return which."""
    kind, name = _drawn(rng)
    file = checkpoint / name
    if kind in REPLACEMENTS:
        REPLACEMENTS[kind](file)
    else:
        file.write_bytes(DAMAGES[kind](file.read_bytes(), rng))
    return f"{kind} {file.name}"


def _corruptions(tmp_path: Path, seeds: range) -> list[str]:
    """Damage a fresh copy for each seed; return those whose newest is not the older one, with one line said."""
    good = tmp_path / "good"
    for step in (1, 2):
        save(good, step, planted(step), about=ABOUT)
    assert newest(good)[0].step == 2  # type: ignore[union-attr]
    missed = []
    for seed in seeds:
        root = Path(shutil.copytree(good, tmp_path / "damaged"))
        what = _corrupt(root / SECOND, random.Random(seed))
        saved, skipped = newest(root)
        told = len(skipped) == 1 and skipped[0].startswith(f"{root / SECOND}: ") and "\n" not in skipped[0]
        if saved is None or not same(saved.tree, planted(1)) or not told:
            missed.append(f"{seed}: {what}: {skipped}")
        shutil.rmtree(root)
    return missed


SEEDS = [range(40), pytest.param(range(40, 100), marks=pytest.mark.slow)]
SEEDS += [pytest.param(range(first, first + 100), marks=pytest.mark.matrix) for first in range(100, 500, 100)]


@pytest.mark.fault("F7")
@pytest.mark.parametrize("seeds", SEEDS, ids=lambda seeds: f"{seeds[0]} to {seeds[-1]}")
def test_corruptions_are_detected(tmp_path: Path, seeds: range, survived: Callable[[int], None]) -> None:
    """Each ends in the older checkpoint, bit for bit, and one line that says what was skipped."""
    assert _corruptions(tmp_path, seeds) == []
    survived(len(seeds))


def test_every_way_of_damage_is_drawn_for_every_file() -> None:
    """Five hundred draws leave none of them out."""
    drawn = {_drawn(random.Random(seed)) for seed in range(500)}
    assert drawn == {(kind, name) for kind in [*DAMAGES, *REPLACEMENTS] for name in LIMITS}


def test_a_state_that_is_wrong_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that does not look at checksums takes the whole arrays of an older checkpoint for its own."""
    monkeypatch.setattr(lopgym.store.reading, "digest", lambda data: ANY)
    (missed,) = _corruptions(tmp_path, range(10, 13))
    assert missed == "11: mixed arrays.npz: []"


def test_a_renamed_checkpoint_is_not_taken_for_another_step(tmp_path: Path) -> None:
    """Under a name of its own it may lie anywhere."""
    path = save(tmp_path, 1, planted(1), about={})
    renamed = path.rename(tmp_path / "ckpt-000000000900")
    with pytest.raises(CheckpointError, match="holds step 1: it was renamed"):
        load(renamed)
    assert load(renamed.rename(tmp_path / "before the change")).step == 1


def test_a_later_format_is_named(tmp_path: Path) -> None:
    """A checkpoint of tomorrow is not called damaged."""
    path = save(tmp_path, 1, planted(1), about={})
    manifest = json.loads((path / MANIFEST).read_bytes())
    (path / MANIFEST).write_text(json.dumps({"format": manifest["format"], "version": 2, "how": "otherwise"}))
    with pytest.raises(CheckpointError, match="format version 2; this lopgym reads version 1") as caught:
        load(path)
    assert caught.value.exit_code == 3


def test_an_unreadable_checkpoint_is_skipped_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that errs while reading: the system's reason, and the file."""
    save(tmp_path, 1, planted(1), about={})

    def fail(path: str, *_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(os, "open", fail)
    assert newest(tmp_path) == (None, [f"{tmp_path / FIRST}: Input/output error (manifest.json)"])


def test_files_have_the_permissions_that_the_user_wants(tmp_path: Path) -> None:
    """Nothing is made more secret or more public than the umask says."""
    path = save(tmp_path, 1, planted(1), about={})
    (tmp_path / "plain").touch()
    wanted = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {wanted}
