"""What a record refuses to hold."""

import dataclasses

import pytest
import torch

from tag2mask.records import (
    Cams,
    LabelledBatch,
    PixelAffinity,
    PseudoMask,
    Regions,
    Seeds,
    SeedScores,
    SoftMask,
    TaggedBatch,
    TaggedImage,
)

PIXELS = torch.zeros(3, 4, 5, dtype=torch.uint8)
TAGS = torch.tensor([False, True, True])
MAP = torch.zeros(4, 5)
LABELS = torch.zeros(4, 5, dtype=torch.int64)
NAN = float("nan")


def test_records_can_not_be_changed():
    image = TaggedImage("a", PIXELS, TAGS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        image.name = "b"


def test_an_image_knows_its_size_and_classes():
    image = TaggedImage("a", PIXELS, TAGS)
    assert image.image_size == (4, 5)
    assert image.class_ids.tolist() == [1, 2]
    assert TaggedImage("a", PIXELS, torch.zeros(3, dtype=torch.bool)).class_ids.tolist() == []
    assert not any("mask" in field.name or "label" in field.name for field in dataclasses.fields(TaggedImage))


REFUSED = {
    "grey pixels": (lambda: TaggedImage("a", PIXELS[:1], TAGS), "a: pixels: expected shape"),
    "float pixels": (lambda: TaggedImage("a", PIXELS.float(), TAGS), "a: pixels: expected torch.uint8"),
    "tags as numbers": (lambda: TaggedImage("a", PIXELS, TAGS.float()), "a: tags: expected torch.bool"),
    "tags of a batch": (lambda: TaggedImage("a", PIXELS, TAGS[None]), "a: tags: expected shape"),
    "a name too few": (
        lambda: TaggedBatch(("a",), torch.zeros(2, 3, 4, 5), torch.zeros(2, 3)),
        "pixels: expected shape",
    ),
    "tags of one image": (
        lambda: TaggedBatch(("a", "b"), torch.zeros(2, 3, 4, 5), torch.zeros(1, 3)),
        "tags: expected shape",
    ),
    "labels of one image": (
        lambda: LabelledBatch(("a", "b"), torch.zeros(2, 3, 4, 5), LABELS[None]),
        "labels: expected shape",
    ),
    "a map too many": (
        lambda: Cams("a", torch.tensor([1]), torch.zeros(2, 4, 5), (8, 10)),
        "a: scores: expected shape",
    ),
    "scores above 1": (lambda: Cams("a", torch.tensor([1]), MAP[None] + 1.1, (8, 10)), r"a: scores: expected values"),
    "scores of NaN": (lambda: Cams("a", torch.tensor([1]), MAP[None] + NAN, (8, 10)), "NaN"),
    "no background": (
        lambda: SeedScores("a", torch.tensor([1]), torch.zeros(1, 4, 5), torch.zeros(1, 4, 5)),
        "a: low: expected shape",
    ),
    "unequal maps": (
        lambda: SeedScores("a", torch.tensor([1]), torch.zeros(2, 4, 5), torch.zeros(2, 4, 6)),
        "a: high: expected shape",
    ),
    "seeds as floats": (lambda: Seeds("a", MAP), "a: labels: expected torch.int64"),
    "values without offsets": (lambda: PixelAffinity((), MAP[None], 8), "affinity values: expected shape"),
    "negative affinity": (lambda: PixelAffinity(((0, 1),), MAP[None] - 1, 8), "affinity values: expected values"),
    "affinity of NaN": (lambda: PixelAffinity(((0, 1),), MAP[None] + NAN, 8), "NaN"),
    "another confidence": (lambda: PseudoMask("a", LABELS, MAP[:2]), "a: confidence: expected shape"),
    "confidence above 1": (lambda: PseudoMask("a", LABELS, MAP + 2), "a: confidence: expected values"),
    "probabilities of a class too many": (
        lambda: SoftMask("a", torch.tensor([0]), MAP.repeat(3, 1, 1), (8, 10)),
        "a: probabilities: expected shape",
    ),
    "probabilities above 1": (
        lambda: SoftMask("a", torch.tensor([0]), MAP.repeat(2, 1, 1) + 2, (8, 10)),
        "a: probabilities: expected values",
    ),
    "probabilities of NaN": (
        lambda: SoftMask("a", torch.tensor([0]), MAP.repeat(2, 1, 1) + NAN, (8, 10)),
        "a: probabilities.*NaN",
    ),
    "class ids of a batch": (
        lambda: SoftMask("a", torch.tensor([[0]]), MAP.repeat(2, 1, 1), (8, 10)),
        "a: class_ids: expected shape",
    ),
    "regions of a batch": (lambda: Regions(LABELS[None], 1), "region ids: expected shape"),
    "regions as floats": (lambda: Regions(MAP, 1), "region ids: expected torch.int64"),
    "no region": (lambda: Regions(LABELS, 0), "region count: expected 1 or more, got 0"),
    "a region too many": (lambda: Regions(LABELS + 1, 1), "region ids: expected values"),
    "a pixel in no region": (lambda: Regions(LABELS - 1, 1), "region ids: expected values"),
    "a region without pixels": (
        lambda: Regions(LABELS + 2, 4),
        r"region ids: expected every id of 0\.\.3, 3 do not occur \(0, 1, 3\)",
    ),
    "regions of an empty image": (lambda: Regions(LABELS[:0], 1), r"expected every id of 0\.\.0, 1 do not occur"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_record_says_what_it_can_not_hold(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        make()


def test_an_image_without_classes_has_records_too():
    nothing = torch.zeros(0, dtype=torch.int64)
    assert Cams("a", nothing, torch.zeros(0, 4, 5), (8, 10)).scores.shape == (0, 4, 5)
    assert SeedScores("a", nothing, torch.ones(1, 4, 5), torch.ones(1, 4, 5)).low.shape == (1, 4, 5)


def test_regions_may_be_one_or_as_many_as_pixels():
    assert Regions(LABELS, 1).count == 1
    assert Regions(torch.arange(20).view(4, 5), 20).ids.shape == (4, 5)


def test_a_soft_mask_spreads_over_all_classes():
    maps = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0)).softmax(dim=0)
    mask = SoftMask("a", torch.tensor([1, 3]), maps, (8, 10))
    spread = mask.spread(5)
    assert spread.shape == (6, 4, 5)
    assert spread[[0, 2, 4]].equal(maps)
    assert not spread[[1, 3, 5]].any()
    spread.fill_(7)
    assert float(mask.probabilities.max()) <= 1, "the record stays as it is"


def test_a_soft_mask_of_an_image_without_tags_is_background():
    nothing = torch.zeros(0, dtype=torch.int64)
    spread = SoftMask("a", nothing, torch.ones(1, 4, 5), (8, 10)).spread(2)
    assert spread[0].equal(torch.ones(4, 5))
    assert not spread[1:].any()
