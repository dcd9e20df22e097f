"""The settings of IAL's rounds: how they follow each other, and those of every part (Wang et al., IJCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from tag2mask.checks import check_choice, check_number
from tag2mask.datasets.dataset import typical_side
from tag2mask.learning.pairwise import PairwiseSettings
from tag2mask.learning.schedule import TUNED_BACKBONE
from tag2mask.learning.segmenting import SegmentSettings
from tag2mask.ops.crf import CrfSettings
from tag2mask.ops.superpixels import SuperpixelSettings
from tag2mask.pipelines.one_backbone import with_backbone
from tag2mask.stages.r3_mine import MineSettings

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.schedule import NetSettings

Learned = TypeVar("Learned", SegmentSettings, PairwiseSettings)

STARTS = {"seeds": "03_seed", "masks": "05_walk"}
"""What round 1 learns from, and the stage that makes it."""


@dataclass(frozen=True)
class RoundSettings:
    """How the rounds follow each other.

    Args:
        start: what round 1 learns from: the CAM ``seeds`` (paper), or the ``masks`` of a finished AffinityNet run.
        count: how many rounds (paper: 5); can be raised later, finished rounds stay.
        soft: rounds from the second on learn the probabilities alpha_p instead of their labels.
        sharpen: these labels are those of alpha_p after a dense CRF, whose edges are those of the image (not
            published); what is learned softly is not sharpened.
        judged: the odds of the background in sharpened masks are chosen image by image, as the walk's alpha is (not
            published).
        averaged: what teaches the next round is the mean of alpha_p over the rounds so far, instead of that of this
            round alone; and if networks go on, the unary network is the mean of those learned from the second round
            on (not published). EM whose E-step is a random estimate settles when estimates are averaged with ever
            smaller steps (Delyon, Lavielle & Moulines, 1999).
        continued: networks go on from the weights of the round before, instead of from the start (not published).
        later_epochs: share of the epochs that networks which go on train for, from the third round on (not published).
        later_rate: their learning rate, relative to that of the first rounds (not published).
    """

    start: Literal["seeds", "masks"] = "seeds"
    count: int = 5
    soft: bool = False
    sharpen: bool = True
    judged: bool = True
    averaged: bool = True
    continued: bool = True
    later_epochs: float = 0.5
    later_rate: float = 0.3

    def __post_init__(self) -> None:
        check_choice("RoundSettings.start", self.start, tuple(STARTS))
        check_number("RoundSettings.count", self.count, 1)
        check_number("RoundSettings.later_epochs", self.later_epochs, 0, above=True)
        check_number("RoundSettings.later_rate", self.later_rate, 0, above=True)

    def going_on(self, settings: Learned) -> Learned:
        """The settings of a network that goes on from the round before: fewer epochs at a lower rate.

        Args:
            settings: those of the first round.
        """
        epochs = max(1, round(settings.epochs * self.later_epochs))
        return replace(settings, epochs=epochs, rate=settings.rate * self.later_rate)


@dataclass(frozen=True)
class IALSettings:
    """The settings of every part of a round. The defaults suit a GPU, ImageNet weights and photographs.

    Args:
        rounds: how many, and what they learn from.
        unary: the segmentation network.
        superpixels: computed once, for all rounds.
        mine: the region classifier.
        pairwise: the spatial propagation network.
        crf: the dense CRF that sharpens what is mined and what teaches the next round.
    """

    rounds: RoundSettings = field(default_factory=RoundSettings)
    unary: SegmentSettings = field(default_factory=SegmentSettings)
    superpixels: SuperpixelSettings = field(default_factory=SuperpixelSettings)
    mine: MineSettings = field(default_factory=MineSettings)
    pairwise: PairwiseSettings = field(default_factory=PairwiseSettings)
    crf: CrfSettings = field(default_factory=CrfSettings)

    def sides(self) -> tuple[float, ...]:
        """Long sides in pixels at which any part looks at images; 0 means their own size."""
        return self.unary.sides() + self.mine.sides() + self.pairwise.sides()

    def nets(self) -> dict[str, NetSettings]:
        """The settings of the networks, by their names here."""
        return {"unary": self.unary, "mine": self.mine, "pairwise": self.pairwise}

    @classmethod
    def paper(cls, _backbone: str = "") -> IALSettings:
        """What is published: five rounds from the seeds, the 80 % rule, the published propagation network.

        Rates are not: they do not depend on the network, as those of `AffinityNetSettings.paper` do.
        """
        return cls(
            rounds=RoundSettings(sharpen=False, judged=False, averaged=False, later_epochs=1.0, later_rate=1.0),
            unary=SegmentSettings.paper(),
            mine=MineSettings(nesterov=False, fill_last=False, sharpen=False, averaged=False, max_side=0),
            pairwise=PairwiseSettings.paper(),
        )

    @classmethod
    def quick(cls, image_side: int = 320, images: int = 400, *, pretrained: bool = False) -> IALSettings:
        """Small nets on a CPU.

        Args:
            image_side: typical long side of the images in pixels; larger ones are shrunk to it.
            images: how many there are; small sets get more epochs.
            pretrained: the run's classifier started from ImageNet weights.
        """
        made = cls(
            unary=SegmentSettings.quick(image_side, images, pretrained=pretrained),
            mine=MineSettings.quick(image_side, images),
            pairwise=PairwiseSettings.quick(image_side, images),
            crf=CrfSettings.quick(image_side, pretrained=pretrained),
        )
        return with_backbone(made, TUNED_BACKBONE, pretrained=True) if pretrained else made

    @classmethod
    def quick_for(cls, data: TagDataset, *, pretrained: bool = False) -> IALSettings:
        """`quick` with the image size and the number of images of a data set.

        Args:
            data: up to 20 of its images are decoded; those that cannot be are left out.
            pretrained: the run's classifier started from ImageNet weights.
        """
        return cls.quick(typical_side(data), len(data.names), pretrained=pretrained)
