"""Our networks on a dozen families: finite, and AffinityNet tells pairs apart; `benchmarks/families.py` has all."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).parents[2] / "benchmarks" / "families.py"

NAMES = [
    "resnet10t", "regnety_002", "tf_efficientnet_lite0", "mobilenetv3_small_050", "lcnet_035", "ghostnet_050",
    "convnext_atto", "mobilevit_xxs", "edgenext_xx_small", "starnet_s1", "vit_tiny_patch16_224",
    "eva02_tiny_patch14_224",
]  # fmt: skip

NOT_POSSIBLE = ["beit_base_patch16_224", "maxvit_tiny_tf_224", "inception_v4", "halonet26t"]

CASES = ((0.01, torch.bfloat16), (1.0, torch.float32), (100.0, torch.bfloat16))


@pytest.fixture(scope="module")
def families():
    spec = importlib.util.spec_from_file_location("families", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["families"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["families"]


@pytest.mark.parametrize("name", NAMES)
def test_any_backbone_works_with_maps_of_any_size(name, families):
    torch.manual_seed(0)
    sample, backbones = families.sample_of(64), families.backbones_of(name)
    seen = {
        kind: families.look(build(backbones[kind]), loss_of, sample, CASES)
        for kind, (build, loss_of) in families.NETS.items()
    }
    assert {kind: found.wrong for kind, found in seen.items()} == dict.fromkeys(seen, ())


@pytest.mark.parametrize("name", NOT_POSSIBLE)
def test_one_that_does_not_work_says_so(name, families):
    with torch.device("meta"), pytest.raises(ValueError, match=rf"backbone '{name}': expected feature maps of .*; it"):
        families.backbone_of(name)


def test_the_table_has_forty_networks_of_fifteen_families(families):
    names = [name for family in families.FAMILIES.values() for name in family]
    assert len(set(names)) == len(names) >= 40
    assert len(families.FAMILIES) >= 15


def test_a_net_that_tells_nothing_apart_is_found(families):
    """Without norms, W is 0 or 1 for all pairs: what the table is there to see."""
    torch.manual_seed(0)
    net = families.AffinityNet(families.backbone_of("resnet10t"))
    net.side_norms = torch.nn.ModuleList(torch.nn.Identity() for _ in net.sides)
    wrong = families.look(net, families.affinity_loss, families.sample_of(64), CASES).wrong
    assert [line.split(",")[0] for line in wrong] == ["x 0.01", "x 100"]
