"""Every artefact comes back as it was written."""

import gc
import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from tag2mask.records import Cams, Regions, SeedScores, SoftMask
from tag2mask.runs.encodings import (
    read_cams,
    read_region_scores,
    read_regions,
    read_scores,
    read_soft_mask,
    write_cams,
    write_region_scores,
    write_regions,
    write_scores,
    write_soft_mask,
    write_weights,
)


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [0, 1, 3])
def test_cams_come_back_to_float16(tmp_path, classes):
    class_ids = torch.tensor([2, 5, 999][:classes], dtype=torch.int64)
    cams = Cams("a/b", class_ids, random(classes, 4, 5), (16, 20))
    write_cams(tmp_path / "a.npz", cams)
    found = read_cams(tmp_path / "a.npz", "a/b")
    assert (found.name, found.image_size) == ("a/b", (16, 20))
    assert found.class_ids.equal(class_ids)
    assert found.scores.dtype == torch.float32
    # Ten bits of fraction: half a step of 2**-10 of the value.
    assert_close(found.scores, cams.scores, rtol=2**-11, atol=2**-24)


@pytest.mark.parametrize("outside", [False, True])
def test_whether_another_method_made_maps_comes_back(tmp_path, outside):
    write_cams(tmp_path / "a.npz", Cams("a", torch.tensor([0]), random(1, 4, 5), (4, 5), outside))
    assert read_cams(tmp_path / "a.npz", "a").outside is outside


def test_a_cam_that_reaches_almost_1_stays_within_1(tmp_path):
    cams = Cams("a", torch.tensor([0]), torch.full((1, 1, 2), 0.99999), (4, 8))
    write_cams(tmp_path / "a.npz", cams)
    assert float(read_cams(tmp_path / "a.npz", "a").scores.max()) <= 1


@pytest.mark.parametrize("classes", [0, 1, 3])
def test_seed_scores_come_back_to_steps_of_1_255(tmp_path, classes):
    class_ids = torch.arange(classes)
    low, high = (random(1 + classes, 4, 5, seed=seed).softmax(dim=0) for seed in (0, 1))
    low[:, 0, 0], low[0, 0, 0] = 0, 1
    write_scores(tmp_path / "a.npz", SeedScores("a", class_ids, low, high))
    found = read_scores(tmp_path / "a.npz", "a")
    assert found.class_ids.equal(class_ids)
    for kept, written in ((found.low, low), (found.high, high)):
        assert_close(kept[1:], written[1:], rtol=0, atol=0.5001 / 255)
        # The background is what the classes leave: their errors add up.
        assert_close(kept[0], written[0], rtol=0, atol=0.5001 * max(1, classes) / 255)
        assert bool((kept.sum(dim=0) > 1 - 1e-5).all())
    assert found.low[:, 0, 0].tolist() == [1.0] + [0.0] * classes


@pytest.mark.parametrize("classes", [0, 1, 5, 40])
def test_soft_masks_come_back_to_steps_of_1_255(tmp_path, classes):
    path = tmp_path / "deep" / "a.npz"
    maps = random(1 + classes, 6, 9, seed=classes).mul(5).softmax(dim=0)
    maps[:, 0, 0] = torch.eye(1 + classes)[classes]
    mask = SoftMask("a", torch.arange(classes) * 7, maps, (41, 63))
    before = maps.clone()
    write_soft_mask(path, mask)
    assert maps.equal(before)
    found = read_soft_mask(path, "a")
    assert (found.name, found.image_size) == ("a", (41, 63))
    assert found.class_ids.equal(mask.class_ids)
    assert_close(found.probabilities.sum(dim=0), torch.ones(6, 9))
    # Rounding adds up in the background, and where classes come to more than 1 they are scaled down.
    assert_close(found.probabilities[1:], maps[1:], atol=0.51 / 255 + 0.002 * classes / 2, rtol=0)
    assert_close(found.probabilities[0], maps[0], atol=0.51 * max(1, classes) / 255, rtol=0)
    assert found.probabilities[:, 0, 0].equal(maps[:, 0, 0])
    write_soft_mask(path, found)
    assert_close(
        read_soft_mask(path, "a").probabilities, found.probabilities, atol=0.51 * max(1, classes) / 255, rtol=0
    )
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("count", [1, 256, 2**16, 2**16 + 1])
def test_regions_come_back_exactly(tmp_path, count):
    path = tmp_path / "deep" / "a.npz"
    ids = torch.arange(count).repeat(2, 1).roll(1, dims=1)
    write_regions(path, Regions(ids, count))
    found = read_regions(path)
    assert found.count == count
    assert found.ids.dtype == torch.int64
    assert found.ids.equal(ids)
    with np.load(path) as arrays:
        assert arrays["ids"].dtype == (np.uint16 if count <= 2**16 else np.int32)
    assert list(path.parent.iterdir()) == [path]


def test_npz_files_hold_no_pickles(tmp_path):
    maps = torch.full((2, 2, 3), 0.5)
    write_cams(tmp_path / "cams.npz", Cams("a", torch.tensor([0, 1]), maps, (4, 6)))
    write_scores(tmp_path / "scores.npz", SeedScores("a", torch.tensor([0]), maps, maps))
    write_regions(tmp_path / "regions.npz", Regions(torch.tensor([[0, 1]]), 2))
    write_soft_mask(tmp_path / "soft.npz", SoftMask("a", torch.tensor([0]), maps, (4, 6)))
    for path in tmp_path.glob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            assert all(arrays[name].dtype != object for name in arrays.files)


def test_threads_read_at_the_same_time(tmp_path):
    class Slow:
        """Garbage that lets another thread go on when it is collected, wherever that is."""

        def __init__(self):
            self.itself = self

        def __del__(self):
            time.sleep(0)

    write_region_scores(tmp_path / "a.npz", torch.rand(3, 2))

    def read(_):
        for _ in range(400):
            Slow()
            read_region_scores(tmp_path / "a.npz")
        return True

    before = gc.get_threshold()
    gc.set_threshold(7)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read, range(4)))
    finally:
        gc.set_threshold(*before)


def test_weights_come_back_exactly_with_their_words(tmp_path):
    tensors = {
        "a": random(3, 4).requires_grad_(),
        "b.c": torch.arange(5),
        "turned": random(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "half": random(3).bfloat16(),
    }
    write_weights(tmp_path / "w.safetensors", tensors, {"state": json.dumps({"epoch": 3})})
    found = load_file(tmp_path / "w.safetensors")
    assert found.keys() == tensors.keys()
    assert all(found[name].equal(tensor.detach()) for name, tensor in tensors.items())
