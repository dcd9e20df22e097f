"""Names of efficientnet_pytorch in timm's words: some by hand, and a whole file one to one."""

import pytest
import timm
import torch

from tag2mask.weights.efficientnet_names import MARK, in_timm_names
from tag2mask.weights.installed import installed_file
from tag2mask.weights.reading import read_weights

OWN = ["conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.1.0.conv_pw.weight", "blocks.1.1.conv_pw.weight"]
"""Three blocks: one that does not widen, two that do."""

PAIRS = {
    "_conv_stem.weight": "conv_stem.weight",
    "_bn0.running_mean": "bn1.running_mean",
    "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
    "_blocks.0._bn1.bias": "blocks.0.0.bn1.bias",
    "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
    "_blocks.0._bn2.weight": "blocks.0.0.bn2.weight",
    "_blocks.1._expand_conv.weight": "blocks.1.0.conv_pw.weight",
    "_blocks.1._bn0.weight": "blocks.1.0.bn1.weight",
    "_blocks.1._depthwise_conv.weight": "blocks.1.0.conv_dw.weight",
    "_blocks.1._bn1.weight": "blocks.1.0.bn2.weight",
    "_blocks.1._se_reduce.bias": "blocks.1.0.se.conv_reduce.bias",
    "_blocks.1._se_expand.weight": "blocks.1.0.se.conv_expand.weight",
    "_blocks.2._expand_conv.weight": "blocks.1.1.conv_pw.weight",
    "_blocks.2._project_conv.weight": "blocks.1.1.conv_pwl.weight",
    "_blocks.2._bn2.running_var": "blocks.1.1.bn3.running_var",
    "_conv_head.weight": "conv_head.weight",
    "_bn1.weight": "bn2.weight",
    "_fc.bias": "classifier.bias",
}


def test_names_by_hand():
    state = {name: torch.tensor(float(number)) for number, name in enumerate(PAIRS)}
    assert MARK in state
    translated = in_timm_names(state, OWN)
    assert translated == {PAIRS[name]: value for name, value in state.items()}


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_lite0"])
def test_an_efficientnet_has_no_other_names_than_timm_s(name):
    with torch.device("meta"):
        own = timm.create_model(name).state_dict()
    given = {theirs: torch.zeros(()) for theirs in names_of_theirs(own)}
    assert list(in_timm_names(given, own)) == list(own)


def names_of_theirs(own):
    """The other way round, block by block, as the authors of efficientnet_pytorch number them."""
    blocks = list(dict.fromkeys(name.rsplit(".conv_dw", 1)[0] for name in own if ".conv_dw." in name))
    for name in own:
        block = next((block for block in blocks if name.startswith(f"{block}.")), None)
        if block is None:
            first, rest = name.split(".", 1)
            outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
            yield f"{outside.get(first, '_fc')}.{rest}"
            continue
        part, rest = name.removeprefix(f"{block}.").rsplit(".", 1)
        if part.startswith("se."):
            word = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}[part]
        elif f"{block}.conv_pwl.weight" in own:
            word = {
                "conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
                "conv_pwl": "_project_conv", "bn3": "_bn2",
            }[part]  # fmt: skip
        else:
            word = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}[part]
        yield f"_blocks.{blocks.index(block)}.{word}.{rest}"


def test_the_installed_file_is_translated_one_to_one():
    with torch.device("meta"):
        own = timm.create_model("tf_efficientnet_lite0").state_dict()
    state = read_weights(installed_file("tf_efficientnet_lite0"))
    translated = in_timm_names(state, own)
    assert len(translated) == len(state)
    assert {name for name in own if "num_batches" not in name} <= set(translated) <= set(own)
    assert all(value.shape == own[name].shape for name, value in translated.items())


def test_other_networks_are_told():
    with pytest.raises(ValueError, match=r"expected blocks 0 to 2, found 1 blocks"):
        in_timm_names({"_blocks.0._bn1.bias": torch.zeros(1)}, OWN)
    state = dict.fromkeys(PAIRS, torch.zeros(1))
    with pytest.raises(ValueError, match=r"expected parts .*_depthwise_conv.*, found '_blocks\.2\._attention\.weight'"):
        in_timm_names(state | {"_blocks.2._attention.weight": torch.zeros(1)}, OWN)
    with pytest.raises(ValueError, match=r"expected parts .*_conv_stem.*, found 'head\.weight'"):
        in_timm_names(state | {"head.weight": torch.zeros(1)}, OWN)
