"""Pickled tags: what numpy writes is read, in every protocol; what wants to run anything is refused."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tag2mask.datasets.tag_pickle import read_pickled_tags

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TAGS = {"2007_000027": (14,), "2007_000032": (0, 14), "2007_000033": ()}


def rows(tags: dict[Any, tuple[int, ...]] = TAGS, classes: int = 20, dtype: str = "f4") -> dict[Any, np.ndarray]:
    """{image: (C,) array of 0 and 1}, as the authors keep it."""
    made = {}
    for name, class_ids in tags.items():
        made[name] = np.zeros(classes, dtype)
        made[name][list(class_ids)] = 1
    return made


def npy(pickled: bytes) -> bytes:
    """A .npy file of an object array without sides, whose pickle is given."""
    out = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue() + pickled


def saved(path: Path, held: Any, protocol: int) -> Path:
    whole = np.empty((), object)
    whole[()] = held
    path.write_bytes(npy(pickle.dumps(whole, protocol=protocol)))
    return path


def with_program(path: Path, program: bytes) -> Path:
    path.write_bytes(npy(program))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(protocol: int, tmp_path: Path) -> None:
    assert read_pickled_tags(saved(tmp_path / "tags.npy", rows(), protocol), 20) == TAGS


def test_what_numpy_saves(tmp_path: Path) -> None:
    np.save(tmp_path / "cls_labels.npy", rows())  # type: ignore[arg-type]
    assert read_pickled_tags(tmp_path / "cls_labels.npy", 20) == TAGS


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4", ">i8", "i4", "u1", "?"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_other_numbers(dtype: str, protocol: int, tmp_path: Path) -> None:
    assert read_pickled_tags(saved(tmp_path / "tags.npy", rows(dtype=dtype), protocol), 20) == TAGS


@pytest.mark.parametrize("protocol", [2, 5])
def test_rows_cut_from_one_table_and_laid_out_by_columns(protocol: int, tmp_path: Path) -> None:
    table = np.asfortranarray(np.stack(list(rows().values())))
    held = dict(zip(TAGS, table, strict=True))
    assert not held["2007_000027"].flags.c_contiguous
    assert read_pickled_tags(saved(tmp_path / "tags.npy", held, protocol), 20) == TAGS
    two = {"a": np.asfortranarray([[1, 0], [1, 0]])}
    with pytest.raises(ValueError, match=r"found shape \(2, 2\) for image 'a', not 4 numbers"):
        read_pickled_tags(saved(tmp_path / "two.npy", two, protocol), 4)


@pytest.mark.parametrize("number", [int, np.int32, np.int64])
@pytest.mark.parametrize("protocol", [2, 4])
def test_images_called_by_numbers(number: Callable[[int], Any], protocol: int, tmp_path: Path) -> None:
    held = {number(2007000027): rows()["2007_000027"]}
    assert read_pickled_tags(saved(tmp_path / "tags.npy", held, protocol), 20) == {2007000027: (14,)}


def test_a_file_of_python_2(tmp_path: Path) -> None:
    """By hand, as Python 2 wrote it: bytes are strings, and some whole numbers are long."""

    def text(words: bytes) -> bytes:
        return b"U" + bytes([len(words)]) + words

    def array(shape: bytes, kind: bytes, content: bytes) -> bytes:
        flags = b"K\x3f" if kind == b"O8" else b"K\x00"
        state = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff" + flags + b"tb"
        dtype = b"cnumpy\ndtype\n(" + text(kind) + b"K\x00K\x01tR" + state
        empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
        return empty + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"

    numbers = text(struct.pack("<3f", 0, 1, 1))
    held = b"}" + text(b"2007_000027") + array(b"\x8a\x01\x03\x85", b"f4", numbers) + b"s"
    program = b"\x80\x02" + array(b")", b"O8", b"]" + held + b"a") + b"."
    assert pickle.loads(program, encoding="latin1").item()["2007_000027"].tolist() == [0, 1, 1]  # noqa: S301
    assert read_pickled_tags(with_program(tmp_path / "tags.npy", program), 3) == {"2007_000027": (1, 2)}


def test_a_large_set_takes_a_moment(tmp_path: Path) -> None:
    tags = {f"2008_{image:06d}": (image % 20,) for image in range(12_031)}
    path = saved(tmp_path / "tags.npy", rows(tags), 2)
    before = time.perf_counter()
    assert read_pickled_tags(path, 20) == tags
    assert time.perf_counter() - before < 15, "a second or two on a quiet machine"


class Mark:
    """Leaves a file where it is unpickled."""

    def __init__(self, how: Callable[..., Any], *values: Any) -> None:
        self.how, self.values = how, values

    def __reduce__(self) -> tuple[Any, ...]:
        return self.how, self.values


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_nothing_is_run(protocol: int, tmp_path: Path) -> None:
    left = tmp_path / "left"
    for held in (
        Mark(os.mkdir, str(left)),
        {"a": Mark(os.mkdir, str(left))},
        {"a": Mark(eval, f"__import__('os').mkdir({str(left)!r})")},
        {"a": Mark(np.memmap, str(left), "f4", "w+", 0, (3,))},
        {"a": Mark(np.fromfile, str(left))},
    ):
        path = saved(tmp_path / "tags.npy", held, protocol)
        why = "wants to" if protocol >= 2 else "with the instruction"
        with pytest.raises(ValueError, match=rf"tags\.npy: expected a dictionary of tags, found a pickle.*{why}"):
            read_pickled_tags(path, 20)
        assert not left.exists()


MADE = b"cnumpy.core.multiarray\n_reconstruct\n"
TYPE = b"cnumpy\ndtype\n"
F4 = TYPE + b"(U\x02f4K\x00K\x01tR"


@pytest.mark.parametrize(
    ("program", "found"),
    [
        (b"cos\nsystem\n(U\x04truetR.", "wants to use 'os.system'"),
        (b"cnumpy\ndtype.mro\n.", "wants to use 'numpy.dtype.mro'"),
        (b"cnumpy.core.multiarray\nfrombuffer\n.", "wants to use"),
        (b"K\x01K\x02\x93.", "STACK_GLOBAL requires str"),
        (b"(ios\nsystem\n.", "the instruction INST"),
        (b"(cnumpy\nndarray\no.", "the instruction OBJ"),
        (b"cnumpy\nndarray\n)\x81.", "the instruction NEWOBJ"),
        (b"U\x01aQ.", "the instruction BINPERSID"),
        (b"\x82\x01.", "the instruction EXT1"),
        (b"K\x01)R.", "damaged one .*not callable"),
        (MADE + b"}R.", "damaged one .*argument"),
        (b"}}b.", "damaged one .*no attribute"),
        (MADE + b")R}b.", "an array without a type"),
        (TYPE + b")Rb.", "damaged"),
        (TYPE + b"(U\x02V9K\x00K\x01tR.", "numbers of an unknown type"),
        (TYPE + b"(]K\x00K\x01tR.", "numbers of an unknown type"),
        (F4 + b"(K\x03U\x01!tb.", "unknown order of bytes"),
        (b"cnumpy\nndarray\n(K\x03tR.", "made in an unknown way"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.", "bytes in an unknown coding"),
        (MADE + b")R(K\x01K\x03\x85" + F4 + b"\x89U\x04abcdtb.", "1 numbers for an array of 3"),
        (MADE + b")R(K\x01J\xff\xff\xff\xff\x85" + F4 + b"\x89U\x00tb.", "impossible shape"),
        (MADE + b")R(K\x01\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85" + F4 + b"\x89U\x00tb.", "impossible shape"),
        (MADE + b")R(K\x01K\x01\x85" + F4 + b"\x89Ntb.", "an array without numbers"),
        (MADE + b")R(K\x01K\x01\x85N\x89Ntb.", "an array without a type"),
        (b"T\xff\xff\xff\x7fab.", "expected 2147483647 bytes"),
        (b"\x8b\xff\xff\xff\x7f\x01.", "not enough data"),
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f\x01.", "expected"),
        (b"j\xff\xff\xff\x7f.", "damaged one"),
        (b"K\x01r\xff\xff\xff\x7f.", "place 2147483647 after"),
        (b"K\x01r\xff\xff\xff\xff.", "place 4294967295 after"),
        (b"}(NK\x01u.", "something else"),
        (b"}(K\x01u.", "found"),
        (b"NK\x01a.", "damaged one"),
        (b"u.", "damaged one"),
        (b"\x85.", "damaged one"),
        (b".", "damaged one"),
        (b"K\x01.", "found something else"),
        (b"", "exhausted"),
    ],
)  # fmt: skip
def test_broken_and_wicked_programs(program: bytes, found: str, tmp_path: Path) -> None:
    path = with_program(tmp_path / "tags.npy", b"\x80\x02" + program)
    with pytest.raises(ValueError, match=found):
        read_pickled_tags(path, 20)


def test_a_file_that_is_cut_off_anywhere_or_changed(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.npy", rows(), 4).read_bytes()
    path = tmp_path / "tags.npy"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"tags\.npy: expected"):
            read_pickled_tags(path, 20)
    draw = random.Random(0)
    for _ in range(3000):
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            changed[draw.randrange(len(whole))] = draw.randrange(256)
        path.write_bytes(changed)
        try:
            found = read_pickled_tags(path, 20)
        except ValueError:
            continue
        assert all(0 <= class_id < 20 for class_ids in found.values() for class_id in class_ids)


def test_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tags.npy"
    with pytest.raises(ValueError, match=r"tags\.npy: expected a file of tags, found: .*No such file"):
        read_pickled_tags(path, 20)
    np.save(path, np.zeros((3, 20), np.float32))
    with pytest.raises(ValueError, match=r"found an array of float32, shape \(3, 20\). Take a file"):
        read_pickled_tags(path, 20)
    path.write_bytes(pickle.dumps(rows()))
    with pytest.raises(ValueError, match="the magic string is not correct"):
        read_pickled_tags(path, 20)
    with pytest.raises(ValueError, match="found no array for image 'a', not 20 numbers"):
        read_pickled_tags(saved(path, {"a": [0, 1]}, 4), 20)
    with pytest.raises(ValueError, match=r"found shape \(20,\) for image '2007_000027', not 80 numbers"):
        read_pickled_tags(saved(path, rows(), 4), 80)
    with pytest.raises(ValueError, match="found numbers other than 0 and 1 for image 'a'"):
        read_pickled_tags(saved(path, {"a": np.full(20, np.nan)}, 4), 20)
    with pytest.raises(ValueError, match="found something else"):
        read_pickled_tags(saved(path, [rows()], 4), 20)
    monkeypatch.setattr("tag2mask.datasets.tag_pickle.LARGEST", 100)
    with pytest.raises(ValueError, match="bytes, where 100 are enough"):
        read_pickled_tags(saved(path, rows(), 4), 20)
