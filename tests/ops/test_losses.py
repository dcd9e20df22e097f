"""The losses against their formulas, and what they say when there is nothing to learn from."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch.testing import assert_close

from reference.equality import SEEDS, SINGLE, SIZES, equality
from reference.losses_by_formula import (
    confident_loss_by_formula,
    label_loss_by_formula,
    pair_loss_by_formula,
    pair_loss_slopes_by_formula,
    smoothness_loss_by_formula,
    soft_label_loss_by_formula,
    tag_loss_by_formula,
)
from tag2mask.labels import IGNORE, channels_from_labels
from tag2mask.ops.losses import (
    confident_region_loss,
    label_loss,
    object_weight,
    pair_loss,
    region_smoothness_loss,
    soft_label_loss,
    tag_loss,
)
from tag2mask.records import PairTargets

KINDS = ("same_background", "same_object", "different")
LABELLED = {
    "seed": SEEDS,
    "batch": st.integers(1, 2),
    "classes": st.integers(0, 3),
    "size": SIZES,
    "unsure": st.sampled_from([0.0, 0.3, 1.0]),
    "object_weight": st.sampled_from([1.0, 2.5]),
}
PAIRS = {
    "seed": SEEDS,
    "batch": st.integers(1, 2),
    "pairs": st.integers(1, 4),
    "size": SIZES,
    "sets": st.lists(st.sampled_from(KINDS), max_size=3, unique=True),
}
NO_PAIRS = {"seed": 0, "batch": 1, "pairs": 1, "size": (1, 1), "sets": []}
NOTHING_KNOWN = {"seed": 0, "batch": 1, "classes": 0, "size": (1, 1), "unsure": 1.0, "object_weight": 1.0}


def targets_of(kinds):
    """A PairTargets of shape (1, 1, 1, n) from a list of names, None for an unsure pair."""
    return PairTargets(*(torch.tensor([[[[kind == one for kind in kinds]]]]) for one in KINDS))


def test_tag_loss_of_an_undecided_classifier_is_log_2():
    assert_close(
        tag_loss(torch.zeros(2, 3), torch.tensor([[True, False, True], [False] * 3])), torch.tensor(math.log(2))
    )


@equality(
    tag_loss,
    tag_loss_by_formula,
    tolerance=SINGLE,
    edges=[{"seed": 0, "batch": 1, "classes": 1, "tagged": 0.0}],
    seed=SEEDS,
    batch=st.integers(1, 4),
    classes=st.integers(1, 20),
    tagged=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_tag_loss_equals_its_formula(seed, batch, classes, tagged):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, classes, generator=generator)
    tags = torch.rand(batch, classes, generator=generator) < tagged
    return tag_loss(logits, tags), tag_loss_by_formula(logits, tags)


def test_tag_loss_of_a_batch_is_the_mean_over_its_images():
    logits = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    tags = torch.tensor([[True] * 5, [False] * 5])
    alone = [tag_loss(logits[i : i + 1], tags[i : i + 1]) for i in range(2)]
    assert_close(tag_loss(logits, tags), (alone[0] + alone[1]) / 2)


def test_tag_loss_stays_finite_for_a_very_sure_classifier():
    loss = tag_loss(torch.tensor([[1000.0, -1000.0]]), torch.tensor([[False, True]]))
    assert math.isfinite(float(loss))
    assert float(loss) == pytest.approx(1000)


def test_tag_loss_names_a_wrong_shape():
    with pytest.raises(ValueError, match="tags: expected shape"):
        tag_loss(torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.bool))


def test_pair_loss_by_eye():
    affinity = torch.tensor([[[[0.5, 0.25, 0.5, 0.9]]]])
    terms = pair_loss(affinity, targets_of(["same_background", "same_background", "different", None]))
    assert float(terms["same_background"]) == pytest.approx((math.log(2) + math.log(4)) / 2 / 4, rel=1e-4)
    assert float(terms["different"]) == pytest.approx(math.log(2) / 2, rel=1e-4)
    assert float(terms["same_object"]) == 0


def pairs_of_sets(seed, batch, pairs, size, sets):
    """Affinities (B, P, h, w) of at most 0.9; what set each pair is in; and the sets' names, None for unsure pairs."""
    generator = torch.Generator().manual_seed(seed)
    affinity = 0.9 * torch.rand(batch, pairs, *size, generator=generator)
    places = torch.randint(len(sets) + 1, affinity.shape, generator=generator)
    targets = PairTargets(*(places == (sets.index(kind) if kind in sets else -1) for kind in KINDS))
    return affinity, targets, [[*sets, None][place] for place in places.flatten().tolist()]


@equality(pair_loss, pair_loss_by_formula, tolerance=SINGLE, edges=[NO_PAIRS], **PAIRS)
def test_pair_loss_equals_its_formula(**drawn):
    affinity, targets, kinds = pairs_of_sets(**drawn)
    return pair_loss(affinity, targets), pair_loss_by_formula(affinity.flatten().tolist(), kinds)


@equality(pair_loss, pair_loss_by_formula, part="W is 0, 0.5 or 1", tolerance=SINGLE, edges=[NO_PAIRS], **PAIRS)
def test_pair_loss_at_its_ends_equals_its_formula(**drawn):
    affinity, targets, kinds = pairs_of_sets(**drawn)
    ends = (affinity / 0.45).round() / 2
    return pair_loss(ends, targets), pair_loss_by_formula(ends.flatten().tolist(), kinds)


@equality(pair_loss, pair_loss_slopes_by_formula, part="gradient", tolerance=SINGLE, edges=[NO_PAIRS], **PAIRS)
def test_pair_loss_has_the_slopes_of_its_formula(**drawn):
    affinity, targets, kinds = pairs_of_sets(**drawn)
    (slopes,) = torch.autograd.grad(sum(pair_loss(affinity.requires_grad_(), targets).values()), affinity)
    return slopes.flatten(), pair_loss_slopes_by_formula(affinity.flatten().tolist(), kinds)


def test_a_set_without_pairs_counts_nothing_and_has_a_finite_gradient():
    affinity = torch.rand(2, 3, 4, 5).requires_grad_()
    nothing = torch.zeros(2, 3, 4, 5, dtype=torch.bool)
    terms = pair_loss(affinity, PairTargets(nothing, nothing, nothing))
    total = sum(terms.values())
    assert total.item() == 0
    total.backward()
    assert_close(affinity.grad, torch.zeros(2, 3, 4, 5))


def test_pair_loss_is_finite_at_0_and_1():
    affinity = torch.tensor([[[[0.0, 1.0, 0.0, 1.0]]]]).requires_grad_()
    terms = pair_loss(affinity, targets_of(["same_object", "different", "same_background", "different"]))
    total = sum(terms.values())
    assert math.isfinite(total.item())
    total.backward()
    assert bool(affinity.grad.isfinite().all())
    assert terms["same_object"].item() == pytest.approx(-math.log(1e-5) / 4, rel=1e-3)


def test_each_set_weighs_the_same_however_many_pairs_it_has():
    few = pair_loss(torch.full((1, 1, 1, 2), 0.3), targets_of(["same_object", "different"]))
    many = pair_loss(torch.full((1, 1, 1, 9), 0.3), targets_of(["same_object"] * 8 + ["different"]))
    for name in KINDS:
        assert_close(few[name], many[name])


def test_pair_loss_names_a_wrong_shape():
    with pytest.raises(ValueError, match="targets: expected shape"):
        pair_loss(torch.rand(1, 2, 3, 4), targets_of([None]))


def logits_and_labels(seed, batch, classes, size, unsure):
    """Logits (B, 1 + C, H, W) and labels (B, H, W), some of them IGNORE."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, 1 + classes, *size, generator=generator)
    labels = torch.randint(classes + 1, (batch, *size), generator=generator)
    return logits, labels.masked_fill(torch.rand(batch, *size, generator=generator) < unsure, IGNORE)


@equality(label_loss, label_loss_by_formula, tolerance=SINGLE, edges=[NOTHING_KNOWN], **LABELLED)
def test_label_loss_equals_its_formula(object_weight, **drawn):
    logits, labels = logits_and_labels(**drawn)
    expected = label_loss_by_formula(logits, channels_from_labels(labels), object_weight)
    return label_loss(logits, labels, object_weight), expected


@equality(soft_label_loss, soft_label_loss_by_formula, tolerance=SINGLE, edges=[NOTHING_KNOWN], **LABELLED)
def test_soft_label_loss_equals_its_formula(object_weight, **drawn):
    logits, labels = logits_and_labels(**drawn)
    targets = logits.flip(0, 2, 3).softmax(dim=1) * (labels != IGNORE).unsqueeze(1)
    expected = soft_label_loss_by_formula(logits, targets, object_weight)
    return soft_label_loss(logits, targets, object_weight), expected


def test_label_loss_of_nothing_known_is_zero():
    logits = torch.randn(1, 3, 2, 2).requires_grad_()
    loss = label_loss(logits, torch.full((1, 2, 2), IGNORE))
    assert loss.item() == 0
    loss.backward()
    assert_close(logits.grad, torch.zeros(1, 3, 2, 2))


def test_label_loss_with_300_classes_finds_the_channel_of_label_300():
    # Labels pass over 255, so class id 298 has label 300 and channel 299.
    logits = torch.zeros(1, 301, 1, 1)
    logits[0, 299] = 50.0
    assert float(label_loss(logits, torch.tensor([[[300]]]))) < 1e-6


def test_label_loss_names_a_wrong_shape():
    with pytest.raises(ValueError, match="labels: expected shape"):
        label_loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 2, dtype=torch.int64))


def one_hot(labels, channels):
    """(B, 1 + C, H, W): 1 at a label, nothing where it is IGNORE."""
    known = channels_from_labels(labels, ignored=0)
    targets = torch.nn.functional.one_hot(known, channels).movedim(-1, 1).float()
    return targets * (labels != IGNORE).unsqueeze(1)


@pytest.mark.parametrize("classes", range(5))
def test_soft_label_loss_of_one_hot_targets_is_label_loss(classes):
    logits, labels = logits_and_labels(classes, 2, classes, (3, 4), 0.3)
    assert_close(soft_label_loss(logits, one_hot(labels, 1 + classes)), label_loss(logits, labels))


def test_soft_label_loss_is_smallest_at_the_targets():
    targets = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    logits = targets.log().requires_grad_()
    loss = soft_label_loss(logits, targets)
    assert_close(loss, -(targets * targets.log()).sum(dim=1).mean())  # The entropy.
    loss.backward()
    assert_close(logits.grad, torch.zeros_like(logits), atol=1e-6, rtol=0)


def test_soft_label_loss_without_targets_is_zero_and_has_a_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = soft_label_loss(logits, torch.zeros(1, 3, 2, 2))
    assert loss.item() == 0
    loss.backward()
    assert not logits.grad.any()


def test_soft_label_loss_leaves_its_arguments_alone_and_names_a_wrong_shape():
    logits, targets = torch.randn(1, 3, 2, 2), torch.full((1, 3, 2, 2), 1 / 3)
    before = logits.clone(), targets.clone()
    soft_label_loss(logits, targets)
    assert logits.equal(before[0])
    assert targets.equal(before[1])
    with pytest.raises(ValueError, match="targets: expected shape"):
        soft_label_loss(logits, targets[:, :2])


def random_regions(seed, classes=3, count=4):
    """Probabilities (2, 1 + C, 3, 4), mined labels (2, 3, 4), weights (2, 2, 3, 4) and ids (2, 3, 4), some -1."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(2, 1 + classes, 3, 4, generator=generator).softmax(dim=1)
    known = torch.tensor([*range(classes + 1), IGNORE, IGNORE])
    labels = known[torch.randint(classes + 3, (2, 3, 4), generator=generator)]
    weights = torch.rand(2, 2, 3, 4, generator=generator)
    ids = torch.randint(-1, count, (2, 3, 4), generator=generator)
    return probabilities, labels, weights, ids


def test_confident_region_loss_by_eye():
    probabilities = torch.tensor([[[[0.5, 0.9, 0.75]], [[0.5, 0.1, 0.25]]]])
    loss = confident_region_loss(probabilities, torch.tensor([[[0, IGNORE, 1]]]))
    assert float(loss) == pytest.approx((math.log(2) + math.log(4)) / 2, rel=1e-4)


@equality(confident_region_loss, confident_loss_by_formula, tolerance=SINGLE, edges=[NOTHING_KNOWN], **LABELLED)
def test_confident_region_loss_equals_its_formula(object_weight, **drawn):
    logits, labels = logits_and_labels(**drawn)
    probabilities = logits.softmax(dim=1)
    expected = confident_loss_by_formula(probabilities, channels_from_labels(labels), object_weight)
    return confident_region_loss(probabilities, labels, object_weight), expected


def test_confident_region_loss_of_nothing_mined_is_zero_and_has_a_gradient():
    probabilities = torch.rand(1, 3, 2, 2).requires_grad_()
    loss = confident_region_loss(probabilities, torch.full((1, 2, 2), IGNORE))
    assert loss.item() == 0
    loss.backward()
    assert_close(probabilities.grad, torch.zeros(1, 3, 2, 2))


def test_confident_region_loss_is_finite_at_0_and_1():
    probabilities = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]]).requires_grad_()
    loss = confident_region_loss(probabilities, torch.tensor([[[0, 0]]]))
    assert loss.item() == pytest.approx(-math.log(1e-5) / 2, rel=1e-3)
    loss.backward()
    assert bool(probabilities.grad.isfinite().all())
    assert probabilities.grad[0, 0, 0, 0] < 0


def test_confident_region_loss_of_a_batch_weighs_every_mined_pixel_alike():
    probabilities, labels, _, _ = random_regions(1)
    mined = (labels != IGNORE).sum(dim=(1, 2))
    alone = [confident_region_loss(probabilities[i : i + 1], labels[i : i + 1]) for i in range(2)]
    expected = (alone[0] * mined[0] + alone[1] * mined[1]) / mined.sum()
    assert_close(confident_region_loss(probabilities, labels), expected)


def test_confident_region_loss_with_300_classes_finds_the_channel_of_label_300():
    probabilities = torch.zeros(1, 301, 1, 1)
    probabilities[0, 299] = 1
    assert abs(float(confident_region_loss(probabilities, torch.tensor([[[300]]])))) < 1e-4


def test_an_objects_pixel_weighs_as_many_of_the_background():
    # Two pixels of background, one of an object, one unknown; a weight of 2 is as good as to show the object twice.
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 1, 4, generator=generator)
    labels = torch.tensor([[[0, 0, 2, IGNORE]]])
    twice = torch.cat([logits, logits[..., 2:3]], dim=-1), torch.tensor([[[0, 0, 2, IGNORE, 2]]])
    assert_close(label_loss(logits, labels, 2.0), label_loss(*twice))
    targets = F.one_hot(torch.tensor([[[0, 0, 2, 0]]]), 3).movedim(-1, 1).float()
    targets[..., 3] = 0
    assert_close(soft_label_loss(logits, targets, 2.0), label_loss(*twice))
    probabilities = logits.softmax(dim=1)
    again = twice[0].softmax(dim=1)
    assert_close(confident_region_loss(probabilities, labels, 2.0), confident_region_loss(again, twice[1]))


@pytest.mark.parametrize(
    ("balance", "weight"),
    [(0, 1), (0.5, 3), (1, 9)],
)
def test_object_weight_is_a_power_of_the_ratio_over_all_maps(balance, weight):
    maps = [torch.tensor([[0, 0, 0, 0, 0]]), torch.tensor([0, 0, 0, 0, 7, IGNORE, IGNORE])]
    assert object_weight(maps, balance) == pytest.approx(weight)


@pytest.mark.parametrize("labels", [[0, 0, IGNORE], [3, 1], [IGNORE], []])
def test_object_weight_of_objects_or_background_alone_is_one(labels):
    assert object_weight([torch.tensor(labels, dtype=torch.int64)], 0.5) == 1


def test_a_balance_of_zero_reads_no_map():
    assert object_weight(iter([None]), 0) == 1


def test_region_smoothness_loss_by_eye():
    weights = torch.tensor([[[[0.0, 1.0, 5.0, 9.0]]]])  # 0 and 1 share a region, 5 is alone, 9 is in none.
    loss = region_smoothness_loss(weights, torch.tensor([[[0, 0, 1, -1]]]), 2)
    assert float(loss) == pytest.approx((0.25 + 0.25 + 0) / 3)


@equality(
    region_smoothness_loss,
    smoothness_loss_by_formula,
    tolerance=SINGLE,
    edges=[{"seed": 0, "batch": 1, "weights": 1, "size": (1, 1), "count": 1}],
    seed=SEEDS,
    batch=st.integers(1, 2),
    weights=st.integers(1, 3),
    size=SIZES,
    count=st.integers(1, 5),
)
def test_region_smoothness_loss_equals_its_formula(seed, batch, weights, size, count):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(batch, weights, *size, generator=generator)
    ids = torch.randint(-1, count, (batch, *size), generator=generator)
    return region_smoothness_loss(drawn, ids, count), smoothness_loss_by_formula(drawn, ids)


def test_weights_that_are_constant_in_each_region_are_smooth():
    _, _, _, ids = random_regions(2, count=5)
    constant = torch.arange(5.0)[ids.clamp(min=0)].unsqueeze(1).expand(-1, 3, -1, -1)
    assert float(region_smoothness_loss(constant, ids, 5)) == pytest.approx(0, abs=1e-9)
    single = torch.arange(ids.numel()).view_as(ids)
    weights = torch.rand(2, 3, 3, 4).requires_grad_()
    loss = region_smoothness_loss(weights, single, ids.numel())
    assert loss.item() == 0
    loss.backward()
    assert_close(weights.grad, torch.zeros(2, 3, 3, 4))


def test_region_smoothness_loss_does_not_ask_how_regions_are_numbered():
    _, _, weights, ids = random_regions(3)
    order = torch.tensor([2, 0, 3, 1])
    renamed = torch.where(ids >= 0, order[ids.clamp(min=0)], -1)
    assert_close(region_smoothness_loss(weights, renamed, 4), region_smoothness_loss(weights, ids, 4))
    assert_close(region_smoothness_loss(weights, ids, 9), region_smoothness_loss(weights, ids, 4))


def test_region_smoothness_loss_outside_every_region_is_zero():
    weights = torch.rand(1, 2, 2, 2).requires_grad_()
    loss = region_smoothness_loss(weights, torch.full((1, 2, 2), -1), 1)
    assert loss.item() == 0
    loss.backward()
    assert_close(weights.grad, torch.zeros(1, 2, 2, 2))


def test_gradients_of_the_region_losses_are_right():
    probabilities, labels, weights, ids = random_regions(4)
    p, w = probabilities.double().requires_grad_(), weights.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: confident_region_loss(p, labels), p)
    assert torch.autograd.gradcheck(lambda w: region_smoothness_loss(w, ids, 4), w)


def test_the_region_losses_leave_their_arguments_alone_and_name_wrong_shapes():
    given_values = random_regions(5)
    before = [value.clone() for value in given_values]
    probabilities, labels, weights, ids = given_values
    confident_region_loss(probabilities, labels)
    region_smoothness_loss(weights, ids, 4)
    assert all(now.equal(then) for now, then in zip(given_values, before, strict=True))
    with pytest.raises(ValueError, match="labels: expected shape"):
        confident_region_loss(probabilities, labels[:1])
    with pytest.raises(ValueError, match="ids: expected shape"):
        region_smoothness_loss(weights, ids[:, :2], 4)
    with pytest.raises(ValueError, match=r"ids: expected values in \[-1, 0\]"):
        region_smoothness_loss(weights, ids, 1)
