"""Labels after a dense CRF: they end at edges, and the odds of the background move their border."""

import torch

from tag2mask.auto.choose import ODDS
from tag2mask.ops.crf import CrfSettings
from tag2mask.ops.refine import sharpened_labels, with_odds
from tag2mask.records import SoftMask, TaggedImage


def test_sharpened_labels_end_at_the_edge_of_the_image():
    pixels = torch.full((3, 40, 60), 30, dtype=torch.uint8)
    pixels[:, :, 30:] = 220
    # alpha_u knows the half with the object only roughly: it says so from column 18 on.
    alpha = torch.full((40, 60), 0.3)
    alpha[:, 18:] = 0.7
    alpha[:, 40:] = 0.95
    alpha[:, :10] = 0.05
    image = TaggedImage("a", pixels, torch.tensor([False, True]))
    soft = SoftMask("a", torch.tensor([1]), torch.stack([1 - alpha, alpha]), image.image_size)
    labels = sharpened_labels(image, soft, 0, CrfSettings())
    assert labels.equal(torch.where(torch.arange(60) >= 30, 2, 0).expand(40, 60))
    nothing = SoftMask("a", torch.zeros(0, dtype=torch.int64), torch.ones(1, 20, 30), image.image_size)
    assert sharpened_labels(image, nothing, 0, CrfSettings()).equal(torch.zeros(40, 60, dtype=torch.int64))


def test_the_odds_of_the_background_move_the_border_between_the_labels():
    alpha = torch.linspace(0.05, 0.95, 40).expand(20, 40)
    image = TaggedImage("a", torch.full((3, 20, 40), 90, dtype=torch.uint8), torch.tensor([True]))
    soft = SoftMask("a", torch.tensor([0]), torch.stack([1 - alpha, alpha]), image.image_size)
    plain = CrfSettings(gaussian_weight=0, bilateral_weight=0)
    found = [int(sharpened_labels(image, soft, 0, plain, odds)[0].sum()) for odds in (1 / 4, 1.0, 4.0)]
    assert found == [int((alpha[0] > share).sum()) for share in (1 / 5, 1 / 2, 4 / 5)]


def test_weighed_probabilities_still_sum_to_one():
    probabilities = torch.rand(3, 4, 5).softmax(dim=0)
    for odds in ODDS:
        weighed = with_odds(probabilities, odds)
        assert torch.allclose(weighed.sum(dim=0), torch.ones(4, 5))
        before, after = (maps[0] / maps[1:].sum(dim=0) for maps in (probabilities, weighed))
        assert torch.allclose(after / before, torch.full((4, 5), odds), rtol=1e-4)
