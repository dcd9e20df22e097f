"""Where the weights come from that a net starts with, and what is told before anything is computed."""

from dataclasses import dataclass, replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from tag2mask.stages.s4_affinity import build_affinity_net
from tag2mask.weights.matching import in_own_names
from tag2mask.weights.starting import check_backbone, kept_levels, loaded_backbone, starting_backbone
from tiny import tiny_runtime, tiny_settings


@dataclass(frozen=True)
class Settings:
    backbone: str = "resnet10t"
    output_stride: int = 16
    start_from: str = "imagenet"


@pytest.fixture
def file(tmp_path):
    """Weights of a ResNet-10, and their file."""
    torch.manual_seed(1)
    state = timm.create_model("resnet10t").state_dict()
    torch.save({"state_dict": state}, tmp_path / "net.pth")
    return state, str(tmp_path / "net.pth")


def test_a_file_stands_for_imagenet(file, finished):
    state, path = file
    backbone = starting_backbone(Settings(), finished, "s", weights=path)
    assert all(value.equal(state[name]) for name, value in backbone.net.state_dict().items())


def test_the_classifier_and_chance_need_no_file(finished):
    backbone = starting_backbone(Settings(start_from="classifier"), finished, "s", weights="nowhere.pth")
    # The classifier's backbone is a network as a whole, this one is feature maps.
    kept = in_own_names(finished.weights("01_classify"), [f"backbone.{name}" for name in backbone.state_dict()])
    assert all(value.equal(kept[f"backbone.{name}"]) for name, value in backbone.state_dict().items())
    for settings, start in ((Settings(start_from="scratch"), finished), (Settings(), None)):
        torch.manual_seed(2)
        random = starting_backbone(settings, start, "s", weights="nowhere.pth")
        torch.manual_seed(2)
        assert all(
            value.equal(random.state_dict()[name])
            for name, value in loaded_backbone("resnet10t", 16).state_dict().items()
        )


def test_a_classifier_with_another_backbone_is_told(finished):
    settings = Settings("resnet18", start_from="classifier")
    with pytest.raises(ValueError, match=r"04_affinity: expected the classifier's backbone to be 'resnet18' too"):
        starting_backbone(settings, finished, "04_affinity")


def test_levels_are_kept_as_settings_say(file):
    assert kept_levels() is None
    backbone = loaded_backbone("resnet10t", 8, weights=file[1], keep=kept_levels(without_last=1))
    assert backbone.strides == (2, 4, 8, 8)
    assert starting_backbone(Settings(), None, "s", until_stride=4).strides == (2, 4)


def test_a_file_can_be_tried_before_it_is_needed(file, tmp_path, recwarn):
    before = torch.random.get_rng_state()
    check_backbone("resnet10t", 8, weights=file[1], without_last=1)
    assert torch.random.get_rng_state().equal(before)
    assert not recwarn.list
    with pytest.raises(ValueError, match=r"net\.pth: expected the weights of backbone 'resnet18'"):
        check_backbone("resnet18", 8, weights=file[1])
    with pytest.raises(ValueError, match="found nothing there"):
        check_backbone("resnet10t", 8, weights=str(tmp_path / "nowhere.pth"))
    with pytest.raises(ValueError, match="no output stride 7"):
        check_backbone("resnet10t", 7)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="missing"):
        check_backbone("convnext_atto", 8, weights=str(tmp_path / "other.safetensors"))


def test_levels_left_out_must_leave_the_stride():
    check_backbone("resnet10t", 8, without_last=2)
    with pytest.raises(ValueError, match=r"expected output stride 16 also without the last 2 .* found 8\. Leave out"):
        check_backbone("convnext_atto", 16, without_last=2)
    settings = replace(tiny_settings().affinity, output_stride=16, without_last=3)
    with pytest.raises(
        ValueError, match=r"output stride 16 also without the last 3 level\(s\) of 'resnet10t', found 4"
    ):
        build_affinity_net(settings, None, tiny_runtime())


def test_published_weights_can_be_tried_before_they_are_needed(monkeypatch):
    asked = []
    monkeypatch.setattr("tag2mask.weights.starting.check_pretrained", asked.append)
    check_backbone("resnet10t", 8)
    check_backbone("resnet10t", 8, pretrained=True)
    assert asked == ["resnet10t"]
