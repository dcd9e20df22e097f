"""The training loop: resumed to the bit, the same for the same seed, loud about a loss that is no number."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from painted import note_run
from tag2mask.learning.fit import fit
from tag2mask.learning.schedule import Schedule
from tag2mask.nets.backbones import to_channels_last
from tag2mask.nets.roles import roles_beside
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runtime import Runtime

STEPS = 3
SCHEDULES = {
    "sgd": Schedule(epochs=5, batch_size=4, rate=0.05, new_factor=10, bias_factor=2, clip=1.0),
    "sgd without momentum": Schedule(epochs=5, batch_size=4, rate=0.05, momentum=0.0),
    "adamw": Schedule(epochs=5, batch_size=4, rate=0.01, optimizer="adamw", weight_decay=0.05, warmup=0.3),
}


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


def loss_of(model, batch):
    pixels, labels = batch
    return {"labels": F.cross_entropy(model(pixels), labels)}


def train(net, schedule, batches=batches, *, seed=0, store=None, loss=loss_of):
    return fit(
        net,
        loss,
        batches,
        schedule,
        runtime(seed),
        steps_per_epoch=STEPS,
        title="test",
        store=store,
        checkpoint_seconds=-1,
    )


def same(first, second):
    """Whether all weights and buffers of two nets are equal to the bit."""
    theirs = second.state_dict()
    return all(value.equal(theirs[name]) for name, value in first.state_dict().items())


class KilledError(Exception):
    pass


def killed_in(epoch, step):
    def some(number):
        for index, batch in enumerate(batches(number)):
            if (number, index) == (epoch, step):
                raise KilledError
            yield batch

    return some


@pytest.fixture
def open_store(tmp_path):
    run = RunFolder(tmp_path / "run")
    note_run(run, digest="d", seed=0)
    return lambda: run.open_stage("01_classify", SCHEDULES["sgd"])


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_training_killed_three_times_ends_with_the_same_weights(kind, open_store):
    schedule, whole = SCHEDULES[kind], small_net()
    unbroken = train(whole, schedule)
    for place in ((0, 1), (2, 2), (4, 0)):
        with pytest.raises(KilledError):
            train(small_net(), schedule, killed_in(*place), store=open_store())
    resumed = small_net(seed=9)  # Its own weights must not matter.
    fitted = train(resumed, schedule, store=open_store())
    assert same(resumed, whole)
    assert fitted.history == unbroken.history
    assert fitted.steps == unbroken.steps == 5 * STEPS


def test_a_finished_training_is_not_trained_again(open_store):
    first, again = small_net(), small_net(seed=9)
    train(first, SCHEDULES["adamw"], store=open_store())
    fitted = train(again, SCHEDULES["adamw"], killed_in(0, 0), store=open_store())
    assert same(first, again)
    assert len(fitted.history["loss"]) == 5


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, second, other = small_net(), small_net(), small_net()
    train(first, SCHEDULES["sgd"], seed=1)
    torch.rand(17)  # Whatever the global generator did meanwhile.
    train(second, SCHEDULES["sgd"], seed=1)
    train(other, SCHEDULES["sgd"], seed=2)  # Other dropout.
    assert same(first, second)
    assert not same(first, other)


@pytest.mark.parametrize(
    ("field_name", "value"),
    [
        ("epochs", 0), ("batch_size", 0), ("rate", 0.0), ("rate", math.nan), ("rate", math.inf), ("power", -1.0),
        ("momentum", 1.0), ("weight_decay", -0.1), ("warmup", 1.0), ("warmup", -0.1), ("new_factor", -1.0),
        ("bias_factor", -1.0), ("clip", -1.0), ("optimizer", "adam"),
    ],
)  # fmt: skip
def test_a_schedule_that_can_not_be_is_told(field_name, value):
    with pytest.raises(ValueError, match=rf"Schedule\.{field_name}: expected .*, got {value!r}\."):
        replace(SCHEDULES["sgd"], **{field_name: value})


def test_training_leaves_the_global_generator_alone():
    net = small_net()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(net, SCHEDULES["sgd"])
    assert torch.rand(3).equal(expected)


def test_the_loss_falls_and_is_told_per_epoch():
    net = small_net()
    fixed = list(batches(0))
    fitted = train(net, replace(SCHEDULES["adamw"], epochs=12), lambda _epoch: fixed)
    epochs, losses = zip(*fitted.history["loss"], strict=True)
    assert epochs == tuple(range(1, 13))
    assert losses[-1] < losses[0]
    assert fitted.history["labels"] == fitted.history["loss"], "one term is the whole loss"


def test_the_terms_add_up():
    def loss(model, batch):
        return {"a": model(batch[0]).mean() * 0 + 0.25, "b": torch.tensor(0.5)}

    fitted = train(small_net(), SCHEDULES["sgd"], loss=loss)
    assert fitted.history["a"][0] == (1, 0.25)
    assert fitted.history["loss"][-1] == (5, 0.75)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_an_error_and_is_not_kept(bad, open_store):
    def loss(model, batch):
        return {"labels": model(batch[0]).mean() * bad}

    with pytest.raises(ValueError, match=r"test, epoch 1: expected a finite loss, got labels .*lower the learning"):
        train(small_net(), SCHEDULES["sgd"], loss=loss, store=open_store())
    assert open_store().load_checkpoint() is None


@dataclass(frozen=True)
class Named:
    """A batch that knows its images."""

    tensors: tuple[torch.Tensor, torch.Tensor]
    names: tuple[str, ...]


def named_batches(epoch):
    for step, tensors in enumerate(batches(epoch)):
        yield Named(tensors, tuple(f"photo-{epoch}-{step}-{index}" for index in range(10)))


def bad_in(epoch, step, bad=math.nan):
    """The loss of one batch is no number."""

    def loss(model, batch):
        factor = bad if batch.names[0] == f"photo-{epoch}-{step}-0" else 1.0
        return {"labels": loss_of(model, batch.tensors)["labels"] * factor}

    return loss


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_images_of_a_loss_that_is_no_number_are_named_and_the_last_checkpoint_is_kept(bad, open_store):
    net, good = small_net(), small_net()
    with pytest.raises(ValueError, match="expected a finite loss") as told:
        train(net, SCHEDULES["sgd"], named_batches, loss=bad_in(2, 1, bad), store=open_store())
    message = str(told.value)
    assert message.startswith(f"test, epoch 3: expected a finite loss, got labels {bad:g} on the images photo-2-1-0, ")
    assert "photo-2-1-7 and 2 more." in message
    assert "photo-2-1-8" not in message
    assert "--precision 32" not in message, "it is float32 already"
    tensors, state = open_store().load_checkpoint()
    assert state.epoch == 2
    with pytest.raises(KilledError):
        train(good, SCHEDULES["sgd"], killed_in(2, 0))
    assert all(value.equal(tensors[f"model.{name}"]) for name, value in good.state_dict().items())
    # Nothing was learned from the batch itself.
    assert all(value.isfinite().all() for value in net.state_dict().values())


def test_in_bfloat16_the_advice_is_float32_first():
    with pytest.raises(ValueError, match=r"compute in float32 \(--precision 32\), or lower the learning .*, or look"):
        fit(
            small_net(),
            bad_in(0, 0),
            named_batches,
            SCHEDULES["sgd"],
            Runtime("cpu", "bf16"),
            steps_per_epoch=STEPS,
            title="test",
        )


def test_a_checkpoint_never_holds_weights_that_are_no_numbers(open_store):
    def loss(model, batch):
        # The root of 0 is finite, its slope is not.
        steep = (0 * model(batch.tensors[0])).square().sum().sqrt() if batch.names[0] == "photo-1-2-0" else 0
        return {"labels": loss_of(model, batch.tensors)["labels"] + steep}

    with pytest.raises(ValueError, match=r"01_classify, epoch 2: expected finite weights, got NaN .* lower learning"):
        train(small_net(), replace(SCHEDULES["sgd"], clip=0.0), named_batches, loss=loss, store=open_store())
    tensors, state = open_store().load_checkpoint()
    assert state.epoch == 1
    assert all(value.isfinite().all() for value in tensors.values())


def test_no_batch_is_an_error():
    with pytest.raises(ValueError, match="no batch to train on"):
        fit(small_net(), loss_of, batches, SCHEDULES["sgd"], runtime(), steps_per_epoch=0, title="test")


class Scales(nn.Module):
    """Four kinds of parameters, each 0, and a loss whose gradient is 1 for each."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(1, 1)
        self.head = nn.Linear(1, 1)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def parameter_roles(self):
        return roles_beside(self, self.backbone)


def test_rates_of_old_and_new_weights_and_biases():
    # Ahn & Kwak: biases x2, new weights x10, new biases x20.
    net = Scales()
    schedule = Schedule(epochs=1, batch_size=1, rate=0.1, momentum=0.0, weight_decay=0.0, new_factor=10, bias_factor=2)
    fit(
        net,
        lambda model, _: {"sum": sum(parameter.sum() for parameter in model.parameters())},
        lambda _epoch: [None],
        schedule,
        runtime(),
        steps_per_epoch=1,
        title="test",
    )
    moved = {name: round(-parameter.item(), 6) for name, parameter in net.named_parameters()}
    assert moved == {"backbone.weight": 0.1, "backbone.bias": 0.2, "head.weight": 1.0, "head.bias": 2.0}


def test_weight_decay_spares_biases_and_parameters_that_rest_stay():
    net = Scales()
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    net.head.weight.requires_grad_(False)
    schedule = Schedule(epochs=1, batch_size=1, rate=0.1, momentum=0.0, weight_decay=0.5)
    fit(
        net,
        lambda model, _: {"none": 0 * sum(parameter.sum() for parameter in model.parameters())},
        lambda _epoch: [None],
        schedule,
        runtime(),
        steps_per_epoch=1,
        title="test",
    )
    assert net.backbone.weight.item() == pytest.approx(0.95)
    assert [net.backbone.bias.item(), net.head.bias.item(), net.head.weight.item()] == [1.0, 1.0, 1.0]


def test_the_rate_rises_and_then_falls_to_zero():
    plain = Schedule(epochs=1, batch_size=1, rate=1.0)
    assert plain.factor(0, 10) == 1
    assert plain.factor(5, 10) == pytest.approx(0.5**0.9)
    assert plain.factor(10, 10) == 0
    warm = replace(plain, warmup=0.2)
    assert [round(warm.factor(step, 10) / plain.factor(step, 10), 6) for step in range(4)] == [0.5, 1, 1, 1]


def test_bfloat16_trains_to_about_the_same_loss():
    losses = []
    for precision in ("32", "bf16"):
        net = small_net()
        fitted = fit(
            net, loss_of, batches, SCHEDULES["adamw"], Runtime("cpu", precision), steps_per_epoch=STEPS, title="test"
        )
        assert all(parameter.dtype == torch.float32 for parameter in net.parameters())
        losses.append(fitted.history["loss"][-1][1])
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_scalars_go_to_tensorboard(open_store):
    stage = open_store()
    train(small_net(), SCHEDULES["sgd"], store=stage)
    events = list((Path(stage.path) / "tensorboard").glob("events*"))
    assert len(events) == 1
    assert b"test/labels" in events[0].read_bytes()


def test_clipping_bounds_a_step():
    net = Scales()
    schedule = Schedule(epochs=1, batch_size=1, rate=1.0, momentum=0.0, weight_decay=0.0, clip=0.5)
    fit(
        net,
        lambda model, _: {"sum": 1000 * sum(parameter.sum() for parameter in model.parameters())},
        lambda _epoch: [None],
        schedule,
        runtime(),
        steps_per_epoch=1,
        title="test",
    )
    moved = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    assert_close(moved.norm(), torch.tensor(0.5), rtol=1e-4, atol=0)
