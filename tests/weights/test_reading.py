"""Weights of others: every form they come in, and every file that is none."""

import argparse

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tag2mask.disk import file_digest
from tag2mask.weights.reading import read_weights, without_wrapper

STATE = {"conv.weight": torch.arange(6.0).reshape(1, 2, 3, 1), "conv.bias": torch.tensor([7.0])}


def saved(path, content, **how):
    torch.save(content, path, **how)
    return path


def same(found, expected=STATE):
    return found.keys() == expected.keys() and all(value.equal(expected[name]) for name, value in found.items())


@pytest.mark.parametrize("name", ["net.safetensors", "net.bin", "net"])
def test_safetensors_are_known_by_their_content(tmp_path, name):
    save_file(STATE, tmp_path / name)
    assert same(read_weights(tmp_path / name))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_state_dictionaries_are_found_where_trainings_put_them(tmp_path, zipped, nested, wrapper):
    state = {wrapper + name: value for name, value in STATE.items()}
    content = state if nested is None else {"epoch": 3, "best": 0.5, nested: state}
    path = saved(tmp_path / "net.pth", content, _use_new_zipfile_serialization=zipped)
    assert same(read_weights(path))


def test_a_net_s_own_state_dictionary_is_read_as_it_is(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert same(read_weights(saved(tmp_path / "net.pth", net.state_dict())), net.state_dict())


def test_a_wrapper_is_taken_away_from_all_names_or_from_none():
    state = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert without_wrapper(state).keys() == state.keys()
    assert without_wrapper({}) == {}


class Danger:
    """An object whose unpickling makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_objects_are_refused_and_not_run(tmp_path, zipped):
    made = tmp_path / "made"
    content = {"state_dict": STATE, "extra": Danger(made)}
    path = saved(tmp_path / "net.pth", content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"net\.pth: expected tensors only, found a pickled .*open\. Pickles are not"):
        read_weights(path)
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "found"), [(nn.Linear(2, 2), "Linear"), ({"model": STATE, "args": argparse.Namespace()}, "Namespace")]
)
def test_what_is_refused_is_named(tmp_path, content, found):
    with pytest.raises(ValueError, match=f"found a pickled .*{found}"):
        read_weights(saved(tmp_path / "net.pth", content))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([1, 2], "a value of type list"),
        (torch.zeros(2), "a value of type Tensor"),
        ({}, "an empty one"),
        ({"epoch": 3, **STATE}, "a value of type int under 'epoch'"),
        ({0: torch.zeros(1)}, "a value of type Tensor under 0"),
    ],
)
def test_other_content_is_told(tmp_path, content, found):
    with pytest.raises(ValueError, match=r"net\.pth: expected a state dictionary") as error:
        read_weights(saved(tmp_path / "net.pth", content))
    assert f"found {found}." in str(error.value)


@pytest.mark.parametrize("content", [b"", b"<!doctype html><html>not found</html>", b"version https://"])
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_file_that_is_none_is_told_by_how_it_begins(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="that cannot be read as such") as error:
        read_weights(tmp_path / name)
    assert repr(content[:24]) in str(error.value)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_half_a_file_is_told(tmp_path, name):
    path = tmp_path / name
    save_file(STATE, path) if name.endswith("s") else torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ValueError, match=r"cannot be read as such .* Get it again, whole"):
        read_weights(path)


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(ValueError, match="found nothing there"):
        read_weights(tmp_path / "net.pth")
    with pytest.raises(ValueError, match="found a folder"):
        read_weights(tmp_path)
    with pytest.raises(ValueError, match="expected a file with weights, found none"):
        file_digest(tmp_path / "net.pth")
