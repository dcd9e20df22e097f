"""What AffinityNet says of images (Ahn & Kwak, CVPR 2018, section 3.3)."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from tag2mask.nets.looking import looking_copy, whole_view
from tag2mask.ops.affinity import half_disc_offsets, pair_affinity, without_border_pairs
from tag2mask.ops.sizes import CellSettings, working_size
from tag2mask.parallel import Turns
from tag2mask.records import PixelAffinity

if TYPE_CHECKING:
    from tag2mask.nets.affinity_net import AffinityNet
    from tag2mask.records import TaggedImage
    from tag2mask.runtime import Runtime


class PairSettings(CellSettings, Protocol):
    """How AffinityNet was trained: resolution and pairs."""

    @property
    def radius(self) -> int: ...

    @property
    def border_pairs(self) -> bool: ...


def image_affinity(image: TaggedImage, net: AffinityNet, settings: PairSettings, runtime: Runtime) -> PixelAffinity:
    """The learned affinity of one image; call inside ``runtime.inference(net)``.

    Args:
        image: any size.
        net: trained.
        settings: how it was trained: resolution and radius.
        runtime: device, precision and seed.
    """
    features = net(whole_view(image.pixels, working_size(image.image_size, settings), net.backbone, runtime))
    offsets = half_disc_offsets(settings.radius)
    return PixelAffinity(offsets, pair_affinity(features, offsets)[0].cpu(), net.stride)


def walked_pairs(affinity: PixelAffinity, settings: PairSettings) -> PixelAffinity:
    """The pairs that scores walk along: those that the net was trained on, see `tag2mask.stages.s4_affinity`."""
    if settings.border_pairs:
        return affinity
    return replace(affinity, values=without_border_pairs(affinity.values, affinity.offsets))


class LearnedPairs:
    """What AffinityNet says of images; several threads may ask.

    Args:
        net: of `tag2mask.stages.s4_affinity.train_affinity`.
        settings: how it was trained: resolution and pairs.
        runtime: where it runs.
    """

    def __init__(self, net: AffinityNet, settings: PairSettings, runtime: Runtime) -> None:
        self.net, self.settings, self.runtime = net, settings, runtime
        # Now, with all cores in sight: inside `map_images` every thread has its share of them.
        self._turns = Turns(runtime.device, settings.cells * settings.output_stride)

    def affinity(self, image: TaggedImage) -> PixelAffinity:
        """Of all pairs of cells within the radius."""
        with self._turns.take(), self.runtime.inference(self._eval_net):
            return image_affinity(image, self._eval_net, self.settings, self.runtime)

    def walked(self, affinity: PixelAffinity) -> PixelAffinity:
        """The pairs that scores walk along."""
        return walked_pairs(affinity, self.settings)

    @cached_property
    def _eval_net(self) -> AffinityNet:
        """Made when it is first asked: a run that is finished asks nothing."""
        return looking_copy(self.net, self.runtime)
