"""A segmenter of another library, passed by value: trained on a run's masks, kept, loaded and asked."""

import pytest
import segmentation_models_pytorch as smp
import torch
from PIL import Image
from torch import nn

from tag2mask.learning.segmenter import GivenSegmenter, check_segmenter, module_of
from tag2mask.nets.roles import Role, roles_of
from tag2mask.pipelines.affinitynet import run_affinitynet
from tag2mask.pipelines.predict import load
from tiny import times_of, tiny_runtime, tiny_settings


class Unet(smp.Unet):
    """A small U-Net of segmentation_models_pytorch, and the pixels that it wants."""

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def unet(classes=6, width=16):
    torch.manual_seed(0)
    decoder = (width, width, width)
    return Unet("resnet18", encoder_depth=3, encoder_weights=None, decoder_channels=decoder, classes=1 + classes)


@pytest.fixture(scope="module")
def given(scenes, finished, tmp_path_factory):
    """A run that has the other library's segmenter; its first stages are those of the finished run."""
    import shutil

    path = tmp_path_factory.mktemp("given") / "run"
    shutil.copytree(finished.path, path)
    return run_affinitynet(scenes, path, tiny_settings(), runtime=tiny_runtime(), segmenter=unet())


def test_it_learns_and_predicts_every_image(scenes, given):
    summary = given.stage_summaries()["06_segment"]
    assert summary.segmenter == GivenSegmenter.of(unet()).segmenter
    assert summary.line.startswith("Unet ")
    before, after = unet().state_dict(), given.weights("06_segment")
    assert before.keys() == after.keys()
    assert not before["segmentation_head.0.weight"].equal(after["segmentation_head.0.weight"])
    for name in (*scenes.names, *scenes.val_names):
        assert given.predictions[name].labels.shape == (48, 48)
    assert (given.path / "06_segment.replaced-1" / "weights.safetensors").is_file(), "the run's own one is set aside"


def test_a_second_run_with_a_like_one_does_nothing_and_another_one_runs_again(scenes, given, caplog):
    before = times_of(given.path / "06_segment")
    run_affinitynet(scenes, given.path, tiny_settings(), runtime=tiny_runtime(), segmenter=unet())
    assert times_of(given.path / "06_segment") == before
    assert GivenSegmenter.of(unet(width=8)) != GivenSegmenter.of(unet())


def test_it_is_loaded_by_value(scenes, given, tmp_path):
    pixels = scenes[scenes.names[0]].pixels
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    trained = load(given.path, runtime=tiny_runtime(), segmenter=unet())
    assert trained.predict(tmp_path / "a.png").labels.equal(given.predictions[scenes.names[0]].labels)
    with pytest.raises(ValueError, match=r"expected Unet \w+, got none\. Give load a network like the one"):
        load(given.path, runtime=tiny_runtime())
    with pytest.raises(ValueError, match=r"expected Unet \w+, got Unet \w+"):
        load(given.path, runtime=tiny_runtime(), segmenter=unet(width=8))


def test_a_run_that_built_its_own_needs_none(finished):
    with pytest.raises(ValueError, match="expected no segmenter, as the run built its own, got Unet"):
        load(finished.path, runtime=tiny_runtime(), segmenter=unet())


def test_what_is_no_segmenter_is_told_before_the_training():
    with pytest.raises(ValueError, match=r"expected logits of shape \(1, 10, 64, 96\).*got \(1, 7, 64, 96\)"):
        check_segmenter(unet(), 9)
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, got function"):
        module_of(unet)
    bad = unet()
    bad.mean = (0.5,)
    with pytest.raises(ValueError, match=r"segmenter\.mean: expected three numbers"):
        module_of(bad)
    net = unet().train()
    check_segmenter(net, 6)
    assert all(part.training for part in net.modules()), "it is put back"


def test_all_of_a_network_of_others_learns_alike():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    roles = [role for _, role in roles_of(net)]
    assert roles == [Role(new=False, bias=False), *[Role(new=False, bias=True)] * 3]
