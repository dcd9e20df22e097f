"""A finished run as a tool: masks for new images, no tags needed."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tag2mask.datasets.images import read_image
from tag2mask.disk import whole_file, write_labels, write_unit
from tag2mask.learning.pairwise import PairwiseSettings, apply_pairwise, build_pairwise
from tag2mask.learning.segmenter import GivenSegmenter, looking_segmenter, module_of
from tag2mask.learning.segmenting import SegmentSettings, build_segmenter, image_probabilities, mask_of
from tag2mask.nets.looking import looking_copy
from tag2mask.ops.sizes import size_of
from tag2mask.pipelines.new_images import check_out, new_images
from tag2mask.pipelines.opened import open_run
from tag2mask.progress import track
from tag2mask.report.pictures import overlay
from tag2mask.runs.places import PAIRWISE, SEGMENT, UNARY
from tag2mask.runs.stage_folder import settings_made_with
from tag2mask.runtime import Runtime
from tag2mask.weights.trained import load_trained

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from tag2mask.learning.segmenter import Segmenter
    from tag2mask.nets.spn import PairwiseNetwork
    from tag2mask.records import PseudoMask
    from tag2mask.runs.round import Round
    from tag2mask.runs.run_folder import RunFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A run whose segmenter is trained; made by `load`.

    Args:
        run: its folder.
        net: the segmenter, or the unary network of the last EM round; as it is when the first mask is asked for.
        settings: how it was trained.
        runtime: where it runs.
        pairwise: the pairwise network of the last EM round and its settings, for refining; None without rounds.
    """

    run: RunFolder
    net: Segmenter
    settings: SegmentSettings
    runtime: Runtime
    pairwise: tuple[PairwiseNetwork, PairwiseSettings] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """C names; label 1 + i is the i-th."""
        return self.run.class_names()

    @cached_property
    def channels(self) -> tuple[int, ...]:
        """Numbers of the channels that the training images were read with; none: the images' own colours."""
        source = self.run.manifest().origin.source
        return () if source is None else source.channels

    def predict(self, path: str | Path, *, refine: bool = False) -> PseudoMask:
        """The mask of one image file, at the image's size.

        Args:
            path: of the image.
            refine: spread the probabilities by the pairwise network (IAL: alpha_p = G alpha_u).

        Raises:
            ValueError: if the file cannot be read as an image, or there is no pairwise network to refine with.
        """
        path = Path(path)
        with self.ready(refine=refine):
            return self.mask_of(path.stem, read_image(path, self.channels), refine=refine)

    @contextmanager
    def ready(self, *, refine: bool) -> Iterator[None]:
        """Put the networks where they run, for many images.

        Args:
            refine: the pairwise network too.

        Raises:
            ValueError: if there is none.
        """
        if refine and self.pairwise is None:
            raise ValueError(
                f"{self.run.path}: expected a pairwise network to refine with, found none. "
                "Make one with `tag2mask ial`, or predict without --refine."
            )
        with ExitStack() as stack:
            stack.enter_context(self.runtime.inference(module_of(self._eval_net)))
            if refine and self._eval_pairwise is not None:
                stack.enter_context(self.runtime.inference(self._eval_pairwise))
            yield

    @cached_property
    def _eval_net(self) -> Segmenter:
        """What `net` is once it is first asked."""
        return looking_segmenter(self.net, self.runtime)

    @cached_property
    def _eval_pairwise(self) -> PairwiseNetwork | None:
        """What `pairwise` is once it is first asked."""
        return None if self.pairwise is None else looking_copy(self.pairwise[0], self.runtime)

    def mask_of(self, name: str, pixels: Tensor, *, refine: bool = False) -> PseudoMask:
        """The mask of an image in memory; call inside `ready`.

        Args:
            name: of the image.
            pixels: (3, H, W) uint8.
            refine: spread the probabilities by the pairwise network.
        """
        probabilities = image_probabilities(pixels, self._eval_net, self.settings, self.runtime)
        if refine and self.pairwise is not None:
            _, settings = self.pairwise
            [probabilities] = apply_pairwise(pixels, probabilities, self._eval_pairwise, settings, self.runtime)
        return mask_of(name, probabilities, size_of(pixels))


def load(path: str | Path, *, runtime: Runtime | None = None, segmenter: Segmenter | None = None) -> TrainedRun:
    """Load a run's segmentation network: that of the last EM round if there are any, else the segmenter.

    Args:
        path: the run folder.
        runtime: where it shall run.
        segmenter: a network like the one that the run was given, if it was; it gets the trained weights.

    Raises:
        ValueError: if the folder is no run, its network is not trained yet, or is not like `segmenter`.
    """
    run = open_run(path)
    runtime = runtime or Runtime()
    if (last := run.last_round()) is not None:
        return _load_round(last, runtime)
    summary = run.stage_summaries().get(SEGMENT)
    if summary is None:
        raise ValueError(
            f"{run.path}: expected a finished run, its segmenter is not trained. Start it again to finish."
        )
    settings = settings_made_with(run.path / SEGMENT, SegmentSettings, complete=run.manifest().is_complete)
    given = "" if segmenter is None else GivenSegmenter.of(segmenter).segmenter
    if given != summary.segmenter:
        raise ValueError(
            f"{run.path}: expected {summary.segmenter or 'no segmenter, as the run built its own'}, got "
            f"{given or 'none'}. Give load a network like the one that the run was given."
        )
    net = segmenter or build_segmenter(settings, len(run.class_names()), None, runtime)
    load_trained(net, run.weights(SEGMENT), run.path / SEGMENT)
    return TrainedRun(run, net, settings, runtime)


def _load_round(last: Round, runtime: Runtime) -> TrainedRun:
    """The networks of a finished round, as their own settings say: ``run.json`` may have those of a later start."""
    classes = len(last.run.class_names())
    settings = last.settings(UNARY, SegmentSettings)
    net = build_segmenter(settings, classes, None, runtime)
    load_trained(net, last.weights(UNARY), last.path / UNARY)
    if PAIRWISE not in last.summaries():
        return TrainedRun(last.run, net, settings, runtime)
    pairwise_settings = last.settings(PAIRWISE, PairwiseSettings)
    pairwise = build_pairwise(pairwise_settings, classes, None, runtime)
    load_trained(pairwise, last.weights(PAIRWISE), last.path / PAIRWISE)
    return TrainedRun(last.run, net, settings, runtime, (pairwise, pairwise_settings))


def predict_files(
    run: RunFolder, paths: Sequence[Path], out: Path, runtime: Runtime, *, strict: bool = False, refine: bool = False
) -> tuple[int, int]:
    """Write masks/, overlays/ and confidence/ for image files and for all images below folders.

    Args:
        run: finished.
        paths: files and folders; of a folder the images that a training would find, see
            `tag2mask.pipelines.new_images`.
        out: where the three folders go.
        runtime: where the net runs.
        strict: a broken image is an error instead of being reported and left out.
        refine: spread the probabilities by the pairwise network of the last EM round.

    Returns:
        How many were written, and how many could not be read.

    Raises:
        ValueError: if there is no image, one is broken and strict, or masks would overwrite those of a data set.
    """
    check_out(out, paths)
    trained = load(run.path, runtime=runtime)
    files, classes = new_images(paths), len(trained.class_names)
    failed = 0
    with trained.ready(refine=refine):
        for name, path in track(list(files.items()), "predict"):
            try:
                pixels = read_image(path, trained.channels)
            except ValueError as error:
                if strict:
                    raise
                logger.warning("left out: %s", error)
                failed += 1
                continue
            mask = trained.mask_of(name, pixels, refine=refine)
            write_labels(out / "masks" / f"{name}.png", mask.labels, classes)
            write_unit(out / "confidence" / f"{name}.png", mask.confidence)
            picture = overlay(pixels.permute(1, 2, 0).numpy(), mask.labels.numpy().astype(np.int64))
            with whole_file(out / "overlays" / f"{name}.jpg") as temporary:
                Image.fromarray(picture).save(temporary, format="JPEG", quality=90)
    return len(files) - failed, failed
