"""FLAME's model file: what is read of it, and what a hostile or damaged one does not do."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from flame_files import Ch, Python2Pickler, flame_arrays, write_flame

from avi_lib.errors import InputError
from avi_lib.heads import flame
from avi_lib.heads.flame import load_flame_file, save_flame_npz

JOINTS_OF_A_HAND = 16


@pytest.fixture(scope="module")
def file(flame_path: Path) -> dict[str, np.ndarray]:
    return load_flame_file(flame_path)


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_flame_file(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_python_2_pickle_gives_its_arrays(file: dict[str, np.ndarray]):
    for name, expected in flame_arrays().items():
        got = file[name]
        if name == "kintree_table":
            expected = np.array([[-1, 0, 1, 1, 1], range(5)])
        assert got.dtype == (np.int32 if name in ("f", "kintree_table") else np.float32)
        assert np.array_equal(got, expected.astype(got.dtype)), name


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_pickle_that_python_3_wrote_again_gives_the_same(file: dict[str, np.ndarray], tmp_path: Path, protocol: int):
    again = tmp_path / "again.pkl"
    again.write_bytes(pickle.dumps(flame_arrays(), protocol))
    assert np.array_equal(load_flame_file(again)["shapedirs"], file["shapedirs"])


def test_columns_first_and_big_endian_arrays_keep_their_numbers(file: dict[str, np.ndarray], tmp_path: Path):
    template = np.asfortranarray(flame_arrays()["v_template"]).astype(">f8")
    assert np.array_equal(
        load_flame_file(write_flame(tmp_path / "f.pkl", v_template=template))["v_template"], file["v_template"]
    )


def test_the_npz_of_a_file_is_the_same_model(file: dict[str, np.ndarray], tmp_path: Path):
    save_flame_npz(file, tmp_path / "flame.npz")
    again = load_flame_file(tmp_path / "flame.npz")
    assert all(np.array_equal(again[name], file[name]) for name in flame_arrays())


class Runs:
    """Leaves a folder behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


class Evaluated(Runs):
    def __reduce__(self):
        return eval, (f"__import__('os').mkdir({str(self.mark)!r})",)


class Fetched(Runs):
    def __reduce__(self):
        return getattr, (Runs(self.mark), "none")


@pytest.mark.parametrize(("kind", "named"), [(Runs, "mkdir"), (Evaluated, "eval"), (Fetched, "getattr")])
@pytest.mark.parametrize(("protocol", "within"), [(2, "alone"), (4, "a field"), (2, "chumpy")])
def test_calls_in_a_pickle_are_named_and_not_made(tmp_path: Path, kind: type, named: str, protocol: int, within: str):
    hostile = kind(tmp_path / "mark")
    held = {"alone": hostile, "a field": {"f": 1, "extra": [hostile]}, "chumpy": {"f": {"x": hostile}}}[within]
    data = pickle.dumps(held, protocol)
    (tmp_path / "bad.pkl").write_bytes(data)
    said = refused(tmp_path / "bad.pkl")
    assert named in said and "nothing of it was run" in said
    assert not (tmp_path / "mark").exists()
    with contextlib.suppress(AttributeError):
        pickle.loads(data)
    assert (tmp_path / "mark").exists()  # the pickle would have run


TEXT = b"X\x01\x00\x00\x00a"
MEMO_OF_64_GB = b"\x80\x02}r\xff\xff\xff\xff."


def nested_key(depth: int) -> bytes:
    """A dict whose key is a tuple of a tuple twice, and so on: hashing it takes 2^depth steps."""
    deeper = b"".join(b"h" + bytes([n, ord("h"), n, 0x86, ord("q"), n + 1]) for n in range(depth))
    return b"\x80\x02}" + b")q\x00" + deeper + b"Ns."


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"(S'true'\nios\nsystem\n.", "os.system"),
        (b"\x80\x02cposix\nsystem\n" + TEXT + b"\x85R.", "posix.system"),
        (b"\x80\x02ccopy_reg\n_reconstructor\n.", "copy_reg._reconstructor"),
        (b"\x80\x02ccopyreg\nadd_extension\n.", "copyreg.add_extension"),
        (b"\x80\x02cnumpy.core.multiarray\nfromfile\n.", "numpy.core.multiarray.fromfile"),
        (b"\x80\x02cnumpy\nload\n.", "numpy.load"),
        (b"\x80\x04" + b"\x8c\x05numpy\x8c\x0dndarray.dumps\x93.", "ndarray.dumps"),
        (b"\x80\x02" + TEXT + b"Q.", "persistent"),
        (b"Pid\n.", "persistent"),
        (b"\x80\x02\x82\x01.", "extension"),
        (b"\x80\x02" + TEXT + b")R.", "not callable"),
        (b"\x80\x02" + TEXT + b")\x81.", "NEWOBJ"),
        (b"\x80\x02(" + b"N" * 30_000 + b"t.", "a tuple, not a dict"),
    ],
)
def test_names_and_opcodes_that_do_more_than_build_arrays_are_refused(tmp_path: Path, data: bytes, said: str):
    (tmp_path / "bad.pkl").write_bytes(data)
    assert said in refused(tmp_path / "bad.pkl")


@pytest.mark.parametrize(
    "data",
    [
        MEMO_OF_64_GB,
        nested_key(60),
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
        b"\x80\x02T" + struct.pack("<i", 1 << 30) + b"x.",
        b"\x80\x02\x8b" + struct.pack("<i", 1 << 30) + b"x.",
        b"\x80\x02" + b"\x85" * 100 + b".",
        b"\x80\x02}" + TEXT + b"s.",
        b"\x80\x02h\x05.",
        b"\x80\x02]Nb.",
        b"",
        b"\x80",
        b"not a model at all",
    ],
)
def test_sizes_that_are_lies_and_damage_end_soon_in_an_error(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "bad.pkl").write_bytes(data)
    monkeypatch.setattr(flame, "SECONDS", 1.0)
    began = time.perf_counter()
    refused(tmp_path / "bad.pkl")
    assert time.perf_counter() - began < 5.0


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.9999999])
def test_a_file_that_is_cut_short_is_an_error(flame_path: Path, tmp_path: Path, share: float):
    data = flame_path.read_bytes()
    (tmp_path / "cut.pkl").write_bytes(data[: int(len(data) * share)])
    assert "cut.pkl" in refused(tmp_path / "cut.pkl")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": None}, "no weights"),
        ({"v_template": np.zeros((6890, 3))}, "5023 vertices and 5 joints"),
        ({"weights": np.ones((5023, JOINTS_OF_A_HAND)) / JOINTS_OF_A_HAND}, "5023 vertices and 5 joints"),
        ({"shapedirs": Ch(np.zeros((5023, 3, 10)))}, "(5023, 3, 400)"),
        ({"v_template": np.array([[None]])}, "v_template is object, no array of numbers"),
        ({"v_template": [1.0, 2.0]}, "v_template is list, no array of numbers"),
        ({"f": np.zeros((9976, 3))}, "f of numbers of the kind iu"),
        (("v_template", (7, 1), np.nan), "finite v_template"),
        (("posedirs", (7, 1, 2), 1e300), "finite posedirs"),
        (("v_template", (7, 1), 250.0), "in metres"),
        (("f", (5, 0), 5023), "vertices 0 to 5023"),
        (("weights", (5, 0), 1.5), "sum to 1"),
        ({"J_regressor": np.zeros((5, 5023))}, "joint regressor whose rows sum to 1"),
        (("kintree_table", (0, 1), 2), "every parent before its children"),
        (("kintree_table", (0, 2), 7), "every parent before its children"),
    ],
)
def test_arrays_that_are_no_flame_are_refused_by_name(tmp_path: Path, changes: dict | tuple, said: str):
    """Changes are fields, or one field, a place in it and the value there."""
    if isinstance(changes, tuple):
        name, place, value = changes
        array = flame_arrays()[name].copy()
        array[place] = value
        changes = {name: array}
    small = {"shapedirs": Ch(np.zeros((5023, 3, 400), np.float32))}
    assert said in refused(write_flame(tmp_path / "bad.pkl", **(small | changes)))


def test_a_sparse_matrix_with_indices_out_of_range_is_an_error(tmp_path: Path):
    regressor = scipy.sparse.csc_matrix(flame_arrays()["J_regressor"])
    regressor.indices[3] = 70
    assert "indices must be < 5" in refused(write_flame(tmp_path / "bad.pkl", J_regressor=regressor))
    wide = scipy.sparse.csc_matrix((1 << 20, 1 << 20))
    assert "at most 2048 MB" in refused(write_flame(tmp_path / "bad.pkl", J_regressor=wide))


def test_a_pickle_with_any_bytes_changed_is_read_or_refused(tmp_path: Path):
    rng = np.random.default_rng(0)
    regressor = scipy.sparse.csc_matrix(np.eye(3))
    small = {"v_template": np.zeros((2, 3)), "f": np.zeros((1, 3), np.uint32), "shapedirs": Ch(np.ones((2, 3, 4)))}
    small |= {"posedirs": np.zeros(2), "J_regressor": regressor, "weights": np.ones(2), "kintree_table": np.ones(2)}
    whole = io.BytesIO()
    Python2Pickler(whole, 2).dump(small)
    for _ in range(12):
        data = bytearray(whole.getvalue())
        for place in rng.integers(0, len(data) - 8, rng.integers(1, 5)):
            change = rng.integers(0, 256, rng.integers(0, 4)).astype(np.uint8).tobytes()
            data[place : place + rng.integers(0, 4)] = change
        (tmp_path / "bad.pkl").write_bytes(data)
        refused(tmp_path / "bad.pkl")


def test_an_npz_with_objects_or_without_an_array_is_an_error(tmp_path: Path):
    np.savez(tmp_path / "a.npz", **(flame_arrays() | {"f": np.array([[object()]])}))
    assert "Object arrays" in refused(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", v_template=np.zeros(3))
    assert "no f, shapedirs" in refused(tmp_path / "b.npz")


def test_a_missing_file_and_one_that_is_too_large_are_errors(tmp_path: Path):
    assert "generic_model.pkl" in refused(tmp_path / "none.pkl")
    with (tmp_path / "huge.pkl").open("wb") as stream:
        stream.truncate((1 << 28) + 1)
    assert "at most" in refused(tmp_path / "huge.pkl")
