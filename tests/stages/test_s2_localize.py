"""Stage 2: maps of exactly the tagged classes, the same for a mirrored image."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from painted import Stripes, run_by_hand
from tag2mask.ops.cam import merge_views, upper_fence
from tag2mask.ops.sizes import resize_image
from tag2mask.ops.windows import normalise
from tag2mask.records import Cams, TaggedImage
from tag2mask.stages.s1_classify import build_classifier, load_classifier
from tag2mask.stages.s2_localize import ABOVE, STAGE, LocalizeSettings, _sharpen_diffuse, image_cams, make_cams
from tiny import StoppedError, stopped_while_writing, tiny_runtime, tiny_settings


def classifier():
    return build_classifier(tiny_settings().classify, 6, tiny_runtime())


def cams_of(image, settings):
    with tiny_runtime().inference(net := classifier()):
        return image_cams(image, net, settings, tiny_runtime())


def test_every_image_has_maps_of_its_tags(scenes, finished):
    for name in scenes.names:
        cams = finished.cams[name]
        assert cams.class_ids.tolist() == scenes.tags(name).nonzero().flatten().tolist()
        assert cams.image_size == (48, 48)
        assert cams.scores.shape == (len(cams.class_ids), 24, 24)
        # Cells miss the peaks, but not by much.
        assert all(float(one.max()) == 0 or 0.9 < float(one.max()) <= 1 for one in cams.scores)


def test_at_full_size_every_map_reaches_one(scenes, finished):
    runtime, whole = tiny_runtime(), replace(tiny_settings().localize, map_stride=1)
    net = load_classifier(finished, len(scenes.class_names), tiny_settings().classify, runtime)
    for name in scenes.names:
        with runtime.inference(net):
            maps = image_cams(scenes[name], net, whole, runtime).scores
        assert all(float(one.max()) in (0.0, 1.0) or float(one.max()) > 0.99 for one in maps)


def test_the_classifier_s_modes_are_put_back():
    net = classifier().train()
    with tiny_runtime().inference(net):
        pass
    assert net.training


def test_a_mirrored_image_has_mirrored_maps(scenes):
    image = scenes[scenes.names[0]]
    mirrored = TaggedImage(image.name, image.pixels.flip(-1), image.tags)
    settings = LocalizeSettings(scales=(1.0, 2.0), map_stride=2)
    # Each view is also seen mirrored, so the sum has no favourite side; 64 pixels, a multiple of every stride.
    assert_close(cams_of(mirrored, settings).scores.flip(-1), cams_of(image, settings).scores, rtol=1e-3, atol=1e-3)


def one_view_at_a_time(image, net, scales, stride):
    """The maps as the paper tells of them: a batch of one per view, divided by their maxima at full size."""
    views, mirrored = [], []
    for scale in scales:
        pixels = resize_image(image.pixels, tuple(round(side * scale) for side in image.image_size))
        for flip in (False, True):
            view = normalise(pixels, net.backbone.mean, net.backbone.std)
            views.append(net.cams(view.flip(-1)[None] if flip else view[None])[0, image.class_ids])
            mirrored.append(flip)
    kept, whole = (
        merge_views(views, mirrored, tuple(side // each for side in image.image_size)) for each in (stride, 1)
    )
    return kept / (whole.amax(dim=(-2, -1), keepdim=True) + 1e-5)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_maps_are_those_of_one_view_at_a_time(scenes, stride):
    image, settings = scenes[scenes.names[0]], LocalizeSettings(scales=(1.0, 0.5, 1.5), map_stride=stride)
    with tiny_runtime().inference(net := classifier()):
        expected = one_view_at_a_time(image, net, settings.scales, stride)
        assert_close(image_cams(image, net, settings, tiny_runtime()).scores, expected, rtol=0, atol=1e-5)


def maps_on_disk(path, data, net):
    make_cams(
        data,
        net,
        run := run_by_hand(path, data),
        replace(LocalizeSettings.quick(64), fence=0.0),
        runtime=tiny_runtime(),
    )
    return [run.cams[name].scores for name in data.names]


def test_several_images_at_a_time_have_the_maps_of_one_at_a_time(scenes, tmp_path, threads):
    net, found = classifier().train(), []
    for count in (1, 3):
        threads(count)
        found.append(maps_on_disk(tmp_path / str(count), scenes, net))
        assert torch.get_num_threads() == count
        assert net.training
    # Kept in float16, whose steps below 1 are 0.0005.
    assert_close(found[1], found[0], rtol=0, atol=1e-3)


def test_several_images_at_a_time_that_were_stopped_go_on(scenes, tmp_path, threads):
    threads(2)
    net = classifier()
    expected = maps_on_disk(tmp_path / "whole", scenes, net)
    with pytest.raises(StoppedError), stopped_while_writing(STAGE, 3):
        maps_on_disk(tmp_path / "stopped", scenes, net)
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "stopped" / STAGE / "maps").rglob("*.npz")}
    assert 0 < len(done) < len(scenes.names)
    assert torch.get_num_threads() == 2
    found = maps_on_disk(tmp_path / "stopped", scenes, net)
    assert all(one.equal(other) for one, other in zip(found, expected, strict=True))
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())


def test_large_images_are_shrunk_and_odd_ones_fit():
    pixels = torch.randint(256, (3, 61, 203), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = TaggedImage("a", pixels, torch.tensor([True] + [False] * 5))
    cams = cams_of(image, LocalizeSettings(scales=(1.0, 0.5), max_side=100, map_stride=4))
    assert cams.image_size == (61, 203)
    assert cams.scores.shape == (1, 8, 25)


def test_an_image_of_one_pixel_and_one_without_tags():
    one = TaggedImage("a", torch.zeros(3, 1, 1, dtype=torch.uint8), torch.tensor([True] * 6))
    assert cams_of(one, LocalizeSettings.paper()).scores.shape == (6, 1, 1)
    none = TaggedImage("a", torch.zeros(3, 5, 7, dtype=torch.uint8), torch.tensor([False] * 6))
    assert cams_of(none, LocalizeSettings(map_stride=4)).scores.shape == (0, 2, 2)


def test_paper_views():
    assert LocalizeSettings.paper().scales == (1.0, 0.5, 1.5, 2.0)
    assert (LocalizeSettings.paper().max_side, LocalizeSettings.paper().map_stride) == (0, 1)
    assert LocalizeSettings.paper().fence == 0


class Many(Stripes):
    """Twelve images."""

    def __init__(self):
        super().__init__(names=tuple("abcdefghijkl"))


def with_maps(path):
    """A run with two maps an image, whose means are about 0.1; those of two images are 0.6 and 0.8."""
    data, settings = Many(), LocalizeSettings()
    run = run_by_hand(path, data)
    stage = run.open_stage(STAGE, settings, after=())
    generator = torch.Generator().manual_seed(0)
    for name in data.names:
        scores = torch.rand((2, 10, 15), generator=generator) * (
            0.15 + 0.1 * torch.rand((2, 1, 1), generator=generator)
        )
        if name in "ch":
            scores[1] += 0.5 + 0.2 * (name == "h")
        scores[:, 4, 4] = 1
        run.cams.write(name, Cams(name, torch.tensor([0, 2]), scores, data.size))
    return data.names, run.cams, stage, settings.fence


def test_maps_that_spread_further_than_the_others_are_sharpened_to_the_fence(tmp_path):
    names, cams, stage, factor = with_maps(tmp_path)
    before = {name: cams[name].scores for name in names}
    fence = upper_fence(torch.cat([scores.mean(dim=(1, 2)) for scores in before.values()]), 1.5)
    assert 0.1 < fence < 0.5
    assert _sharpen_diffuse(names, cams, stage, factor) == 2
    for name in names:
        after = cams[name].scores
        assert after[0].equal(before[name][0])
        assert after[1].equal(before[name][1]) == (name not in "ch")
        if name in "ch":
            assert float(after[1].mean()) == pytest.approx(fence, rel=ABOVE - 1)
            assert float(after[1, 4, 4]) == 1
            order = before[name][1].flatten().argsort()
            assert bool((after[1].flatten()[order].diff() >= 0).all()), "the order of the pixels stays"


def test_maps_of_a_stage_that_was_stopped_while_sharpening_are_those_of_one_that_was_not(tmp_path):
    whole, stopped = with_maps(tmp_path / "whole"), with_maps(tmp_path / "stopped")
    _sharpen_diffuse(*whole)
    with pytest.raises(StoppedError), stopped_while_writing(STAGE, 2):
        _sharpen_diffuse(*stopped)
    assert _sharpen_diffuse(*stopped) == 2
    for name in whole[0]:
        assert whole[1][name].scores.equal(stopped[1][name].scores)


def test_the_line_tells_of_diffuse_maps(finished):
    assert finished.stage_summaries()[STAGE].line.endswith("diffuse ones sharpened")
