"""Where and how a run computes: its seed, its precision, and networks that are put back as they were."""

import logging
import threading

import pytest
import torch
from torch import nn

from tag2mask.nets.backbones import to_channels_last
from tag2mask.nets.looking import looking_copy
from tag2mask.runtime import Runtime

STEPS = 3


def runtime(seed=0):
    return Runtime("cpu", "32", seed)


def small_net(seed=0):
    """Convolution, batch norm and dropout: something to learn, something to count, something to draw."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3), nn.Dropout(0.3)
    )
    return to_channels_last(net)


def batches(epoch):
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(100 * epoch + step)
        pixels = torch.randn(4, 3, 8, 8, generator=generator)
        yield pixels.to(memory_format=torch.channels_last), torch.randint(2, (4, 6, 6), generator=generator)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_runtime_is_made_without_a_word(precision, caplog):
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.addHandler(caplog.handler)
    try:
        Runtime("cpu", precision)
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.records == []
    assert logger.level == level, "logging is left as it was"


def test_what_is_drawn_follows_from_the_seed_and_the_words():
    with runtime(3).seeded("view", 1, "cat"):
        drawn = torch.rand(5)
    expected = torch.Generator().manual_seed(runtime(3).derived_seed("view", 1, "cat"))
    assert drawn.equal(torch.rand(5, generator=expected))
    with runtime(3).seeded("view", 2, "cat"):
        assert not drawn.equal(torch.rand(5))


def test_inference_puts_every_mode_back():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()))
    net.train()
    net[1][0].eval()
    before = [part.training for part in net.modules()]
    assert len(set(before)) == 2
    with runtime().inference(net) as model:
        assert model is net
        assert not any(part.training for part in net.modules())
        assert not net(torch.ones(3, 2)).requires_grad
    assert [part.training for part in net.modules()] == before
    with pytest.raises(KilledError), runtime().inference(net):
        raise KilledError
    assert [part.training for part in net.modules()] == before
    assert net(torch.ones(3, 2)).requires_grad


def test_seeded_draws_the_same_for_the_same_words_and_puts_the_generator_back():
    place = runtime(3)

    def draw(*words):
        with place.seeded(*words):
            return torch.rand(4)

    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    assert draw("view", 1, "a").equal(draw("view", 1, "a"))
    assert not draw("view", 1, "a").equal(draw("view", 1, "b"))
    assert torch.rand(2).equal(expected)
    seeds = {runtime(seed).derived_seed(*words) for seed in (0, 1) for words in (("a",), ("a", 1), ("a1",), ())}
    assert len(seeds) == 8


def test_precision_follows_the_words():
    assert Runtime("cpu", "32").precision == "32"
    assert Runtime("cpu", "bf16").precision == "bf16"
    assert Runtime("cpu", "auto").precision in {"32", "bf16"}
    assert Runtime("cpu").device.type == "cpu"
    assert (Runtime("cpu").workers, Runtime("cpu", workers=2).workers) == (0, 2)


def test_several_threads_ask_a_copy_and_the_network_itself_stays_as_it_is():
    net, running = small_net().train(), runtime()
    looking = looking_copy(net, running)
    first_inside, second_inside = threading.Event(), threading.Event()

    def first():
        with running.inference(looking):
            first_inside.set()
            second_inside.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    first_inside.wait(10)
    with running.inference(looking):
        second_inside.set()
        thread.join(10)
        assert not any(part.training for part in looking.modules())
        assert not torch.is_grad_enabled()
    assert all(part.training for part in net.modules())
    assert [one is other for one, other in zip(net.parameters(), looking.parameters(), strict=True)].count(False) == 0


def test_inference_in_bfloat16_gives_what_it_gave_and_training_goes_on():
    net, running = small_net(), Runtime("cpu", "bf16")
    pixels = next(iter(batches(0)))[0]
    with running.inference(net):
        first, second = net(pixels), net(pixels)
    assert first.equal(second)
    assert not first.requires_grad
    with running.fabric.autocast():
        net(pixels).float().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
