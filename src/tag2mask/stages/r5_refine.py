"""IAL, E-step: unary network -> alpha_u -> pairwise network -> alpha_p, tags applied (Wang et al., IJCV 2020)."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tag2mask.learning.pairwise import apply_pairwise
from tag2mask.learning.segmenting import image_probabilities, mask_of
from tag2mask.nets.looking import looking_copy
from tag2mask.nets.spn import resize_maps
from tag2mask.ops.energy import smoothness_energy
from tag2mask.ops.sizes import size_of
from tag2mask.ops.soft_masks import soft_mask, with_tags
from tag2mask.ops.superpixels import resize_regions
from tag2mask.parallel import Turns, map_images
from tag2mask.runs.image_numbers import Tally
from tag2mask.runs.places import ESTIMATE, MINE, PAIRWISE, REFINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.pairwise import PairwiseSettings
    from tag2mask.learning.segmenting import SegmentSettings
    from tag2mask.nets.segmenter import DeepLab
    from tag2mask.nets.spn import PairwiseNetwork
    from tag2mask.records import TaggedImage
    from tag2mask.runs.round import Round
    from tag2mask.runtime import Runtime


@dataclass(frozen=True)
class RefineSettings:
    """What alpha_p and its masks depend on besides the networks.

    Args:
        max_side: images with a longer side are shrunk to it.
        stride: image pixels per cell of the kept probabilities.
        refined: whether there is a pairwise network.
        sharpened: whether the masks will be sharpened before they teach.
    """

    max_side: int
    stride: int
    refined: bool
    sharpened: bool


@dataclass(frozen=True, eq=False)
class Refiner:
    """The two networks of a round, as they look at images.

    Args:
        unary: gives alpha_u.
        unary_settings: how it was trained.
        pairwise: gives G; None: alpha_p is alpha_u.
        pairwise_settings: how it was trained.
        runtime: where they run.
    """

    unary: DeepLab
    unary_settings: SegmentSettings
    pairwise: PairwiseNetwork | None
    pairwise_settings: PairwiseSettings
    runtime: Runtime

    @property
    def is_linear(self) -> bool:
        """Whether there is a G, and with it an energy; without a pairwise network it is the identity."""
        return self.pairwise is None or self.pairwise.is_linear

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Both networks where they run, for looking."""
        with ExitStack() as stack:
            for net in (self.unary, self.pairwise):
                if net is not None:
                    stack.enter_context(self.runtime.inference(net))
            yield

    def estimate(self, pixels: Tensor) -> Tensor:
        """alpha_u of an image (3, H, W) uint8: (1 + C, h, w)."""
        return image_probabilities(pixels, self.unary, self.unary_settings, self.runtime)

    def refine(self, pixels: Tensor, alpha: Tensor, times: int = 1) -> list[Tensor]:
        """G alpha, G G alpha and so on, see `tag2mask.learning.pairwise.apply_pairwise`."""
        return apply_pairwise(pixels, alpha, self.pairwise, self.pairwise_settings, self.runtime, times=times)


def refine_masks(data: TagDataset, em_round: Round, networks: Refiner, *, sharpened: bool) -> None:
    """alpha_p = G alpha_u: soft and hard masks, and the energies; or find it done.

    Args:
        data: images and tags.
        em_round: the round, with alpha_u and the mined labels; probabilities, masks and confidence go there.
        networks: of the round.
        sharpened: the masks will be sharpened before they teach, see `tag2mask.stages.r5_sharpen`.
    """
    title, pairwise = f"{em_round.folder}/{REFINE}", networks.pairwise_settings
    after = tuple(f"{em_round.folder}/{name}" for name in (ESTIMATE, MINE, PAIRWISE))
    settings = RefineSettings(pairwise.max_side, pairwise.stride, networks.pairwise is not None, sharpened)
    stage = em_round.run.open_stage(title, settings, after)
    if stage.finished:
        return
    names, train = (*data.names, *data.val_names), set(data.names)
    tally, turns, masks = Tally(stage), Turns(networks.runtime.device, pairwise.max_side), em_round.masks
    eval_nets = _eval_copies(networks)

    def work(name: str) -> None:
        image = data[name]
        with turns.take(), eval_nets.ready():
            if name in train:
                refined = _refine_training(image, em_round, eval_nets, tally)
            if name not in train or eval_nets.pairwise is None:
                # Of training images alpha_u is kept at cells; where nothing refines it, the mask is the unary one.
                [refined] = eval_nets.refine(image.pixels, eval_nets.estimate(image.pixels))
        # Last, because the mask says that the image is done.
        masks.write(name, mask_of(name, with_tags(refined, image.tags) if name in train else refined, image.image_size))

    map_images(work, tally.missing(masks, names, counted=data.names), title)
    energy = {key: total / len(data.names) for key, total in tally.sums(data.names).items()}
    line = f"masks of {len(names)} images, {_words_of(energy)}"
    stage.finish(line, items=len(names), energy=energy, sharpened=sharpened)


def _words_of(energy: Mapping[str, float]) -> str:
    if not energy:
        return "no energy: the propagation is not linear, so that there is no G"
    unrefined, mined, refined = (f"{1e6 * energy[key]:.1f}" for key in ("unary", "mined", "refined"))
    return f"energy in millionths {unrefined} -> {refined}, with mined labels {mined}"


def _eval_copies(networks: Refiner) -> Refiner:
    """Copies that only look."""
    pairwise = None if networks.pairwise is None else looking_copy(networks.pairwise, networks.runtime)
    return replace(networks, unary=looking_copy(networks.unary, networks.runtime), pairwise=pairwise)


def _refine_training(image: TaggedImage, em_round: Round, networks: Refiner, tally: Tally) -> Tensor:
    """alpha_p of a training image, (1 + C, h, w) at the network's cells; its soft mask and its energies are kept."""
    alpha = em_round.soft[image.name].spread(len(image.tags))
    refined, again = networks.refine(image.pixels, alpha, times=2)
    energies = _energies(alpha, refined, again, em_round.mined[image.name].labels) if networks.is_linear else {}
    tally.add(image.name, energies)
    em_round.refined_soft.write(image.name, soft_mask(image, refined, 1))
    return refined


def _energies(alpha: Tensor, refined: Tensor, again: Tensor, mined: Tensor) -> dict[str, float]:
    """Of one image: J of alpha_u, Y^T L alpha_u with the mined labels Y, and J of alpha_p."""
    size = size_of(refined)
    # L alpha = alpha - G alpha needs both of the same alpha.
    alpha = resize_maps(alpha[None], size)[0]
    target = resize_regions(mined, size)
    return {
        "unary": float(smoothness_energy(alpha[None], refined[None])),
        "mined": float(smoothness_energy(alpha[None], refined[None], target[None])),
        "refined": float(smoothness_energy(refined[None], again[None])),
    }
