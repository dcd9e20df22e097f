"""Published weights: taken from the cache without a question, asked for where that can be, and told where it cannot."""

import time
from urllib.error import HTTPError, URLError

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from tag2mask.nets import pretrained
from tag2mask.nets.backbones import Backbone, check_pretrained
from tag2mask.nets.pretrained import find_pretrained, url_of


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    """A hub cache of our own, with nothing in it."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(huggingface_hub.constants, name, str(tmp_path), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return tmp_path


@pytest.fixture
def no_internet(monkeypatch):
    """Nobody answers; counts the questions."""
    asked = []

    def fail(request, timeout):
        asked.append(request.full_url)
        raise URLError("Name or service not known")

    monkeypatch.setattr(pretrained, "urlopen", fail)
    return asked


def put_into_cache(cache, name, state):
    """What a download leaves behind."""
    folder = cache / f"models--{timm.get_pretrained_cfg(name).hf_hub_id.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    save_file(state, folder / "snapshots" / "abc" / "model.safetensors")


def test_without_internet_it_is_told_at_once_what_to_do(empty_cache, no_internet):
    began = time.monotonic()
    with pytest.raises(ValueError, match="the pretrained weights could not be had") as error:
        Backbone("resnet10t", 16, pretrained=True)
    assert time.monotonic() - began < 3, "no retries"
    assert no_internet == [url_of("resnet10t")]
    for words in ("resnet10t", "Name or service not known", url_of("resnet10t"), "--weights FILE", "HF_HOME"):
        assert words in str(error.value)


def test_an_order_to_stay_offline_is_kept(empty_cache, no_internet, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        check_pretrained("resnet10t")
    assert no_internet == []


def test_what_is_in_the_cache_is_taken_without_a_question(empty_cache, no_internet):
    state = timm.create_model("resnet10t").state_dict()
    put_into_cache(empty_cache, "resnet10t", state)
    backbone = Backbone("resnet10t", 8, pretrained=True)
    assert no_internet == []
    assert all(value.equal(state[name]) for name, value in backbone.net.state_dict().items())


def test_a_transformer_takes_them_too(empty_cache, no_internet):
    state = timm.create_model("test_vit").state_dict()
    put_into_cache(empty_cache, "test_vit", state)
    backbone = Backbone("test_vit", 16, pretrained=True)
    own = {name.removeprefix("model."): value for name, value in backbone.net.state_dict().items()}
    assert "norm.weight" in own
    assert all(value.equal(state[name]) for name, value in own.items())


def test_a_stride_that_can_not_be_is_not_blamed_on_the_weights(empty_cache, no_internet):
    put_into_cache(empty_cache, "test_vit", timm.create_model("test_vit").state_dict())
    with pytest.raises(ValueError, match="no output stride 8"):
        Backbone("test_vit", 8, pretrained=True)


def test_a_broken_file_in_the_cache_is_told(empty_cache, no_internet):
    put_into_cache(empty_cache, "resnet10t", {"conv1.0.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"could not be had \(RuntimeError: .*conv1"):
        Backbone("resnet10t", 16, pretrained=True)


@pytest.mark.parametrize("answer", [None, HTTPError("url", 404, "Not Found", {}, None)])
def test_a_server_that_answers_is_left_to_timm(empty_cache, monkeypatch, answer):
    class Response:
        def close(self):
            pass

    def ask(request, timeout):
        assert request.get_method() == "HEAD"
        assert timeout == pretrained.PATIENCE
        if answer is not None:
            raise answer
        return Response()

    monkeypatch.setattr(pretrained, "urlopen", ask)
    assert find_pretrained("resnet10t") == {}


def test_weights_outside_of_the_hub_are_looked_for_in_torch_s_cache(no_internet, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = next(
        name
        for name in timm.list_models(pretrained=True)
        if not timm.get_pretrained_cfg(name).hf_hub_id and timm.get_pretrained_cfg(name).url
    )
    with pytest.raises(ValueError, match="could not be had") as error:
        find_pretrained(name)
    assert url_of(name) in str(error.value)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / url_of(name).rpartition("/")[2]).touch()
    assert find_pretrained(name) == {}


@pytest.mark.parametrize("name", ["resnet50t", "resnet38", "vgg16_dilated"])
def test_a_network_without_published_weights_is_told(name):
    with pytest.raises(ValueError, match=f"{name}.*--weights FILE"):
        Backbone(name, 16, pretrained=True)
