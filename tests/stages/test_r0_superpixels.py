"""IAL, the superpixels: made once for all rounds, for images of any kind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from painted import Stripes, run_by_hand
from tag2mask.ops.superpixels import SuperpixelSettings, superpixels
from tag2mask.records import TaggedImage
from tag2mask.runs.places import SUPERPIXELS
from tag2mask.stages.r0_superpixels import make_superpixels
from tiny import StoppedError, stopped_while_writing


class Flat(Stripes):
    """Images of a single colour."""

    def __getitem__(self, name):
        return TaggedImage(name, torch.full((3, *self.size), 90, dtype=torch.uint8), self.tags(name))


def test_superpixels_are_made_once(scenes, tmp_path):
    run = run_by_hand(tmp_path, scenes)
    settings = SuperpixelSettings(count=30)
    make_superpixels(scenes, run, settings)
    for name in scenes.names:
        expected = superpixels(scenes[name].pixels, settings)
        assert run.superpixels[name].ids.equal(expected.ids)
    assert not any((run.path / SUPERPIXELS / "regions" / f"{name}.npz").exists() for name in scenes.val_names)
    files = sorted((run.path / SUPERPIXELS).rglob("*.npz"))
    before = [file.stat().st_mtime_ns for file in files]
    make_superpixels(scenes, run, settings)
    assert [file.stat().st_mtime_ns for file in files] == before
    make_superpixels(scenes, run, replace(settings, count=10))
    assert run.superpixels[scenes.names[0]].count < 20


class Mixed(Stripes):
    """Four images of one pixel, then four larger ones."""

    def __init__(self):
        super().__init__(names=tuple("abcdefgh"))

    def __getitem__(self, name):
        image = super().__getitem__(name)
        return TaggedImage(name, image.pixels[:, :1, :1], image.tags) if name < "e" else image


def test_superpixels_of_a_stopped_stage_are_not_made_again_and_the_summary_is_that_of_all(tmp_path):
    data, settings = Mixed(), SuperpixelSettings(count=30)
    whole, stopped = (run_by_hand(tmp_path / name, data) for name in ("whole", "stopped"))
    make_superpixels(data, whole, settings)
    with pytest.raises(StoppedError), stopped_while_writing("rounds/0_superpixels", 5):
        make_superpixels(data, stopped, settings)
    made = {path: path.stat().st_mtime_ns for path in (stopped.path / SUPERPIXELS).rglob("*.npz")}
    assert 0 < len(made) < 8
    make_superpixels(data, stopped, settings)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    lines = [run.stage_summaries()[SUPERPIXELS].line for run in (whole, stopped)]
    mean = (4 + sum(whole.superpixels[name].count for name in "efgh")) / 8
    assert lines == [f"slic, {mean:.0f} superpixels an image"] * 2


@pytest.mark.parametrize(("algorithm", "fewest"), [("slic", 2), ("felzenszwalb", 1)])
def test_an_image_of_one_colour(tmp_path, algorithm, fewest):
    data = Flat()
    run = run_by_hand(tmp_path, data)
    make_superpixels(data, run, SuperpixelSettings(algorithm, count=20))
    assert run.superpixels["a"].ids.shape == data.size
    assert (run.superpixels["a"].count == 1) == (fewest == 1)


@pytest.mark.parametrize("algorithm", ["slic", "felzenszwalb"])
def test_more_superpixels_than_pixels(tmp_path, algorithm):
    data = Stripes(size=(3, 5))
    run = run_by_hand(tmp_path, data)
    make_superpixels(data, run, SuperpixelSettings(algorithm, count=400))
    assert 1 <= run.superpixels["x/b"].count <= 15


def test_superpixels_that_are_gone_are_told(tmp_path):
    run = run_by_hand(tmp_path, Stripes())
    with pytest.raises(ValueError, match=r"a\.npz: expected superpixels, found nothing .*Delete .*/0_superpixels"):
        run.superpixels["a"]
