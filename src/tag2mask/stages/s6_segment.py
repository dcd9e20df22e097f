"""Images and pseudo masks -> segmenter weights and its masks of new images (Ahn & Kwak, CVPR 2018, section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tag2mask.learning.segmenter import GivenSegmenter, check_segmenter, looking_segmenter, module_of
from tag2mask.learning.segmenting import build_segmenter, learn_masks, predict_mask
from tag2mask.parallel import Turns, map_images
from tag2mask.runs.places import CLASSIFY, WALK
from tag2mask.runs.places import SEGMENT as STAGE
from tag2mask.runs.stage_summary import Curves
from tag2mask.weights.trained import load_trained

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.segmenter import Segmenter
    from tag2mask.learning.segmenting import LabelSource, SegmentSettings
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runtime import Runtime


def train_segmenter(
    data: TagDataset,
    masks: LabelSource,
    run: RunFolder,
    settings: SegmentSettings,
    *,
    runtime: Runtime,
    net: Segmenter | None = None,
) -> Segmenter:
    """Train the segmenter on pseudo masks and predict all training and held-out images, or find it done.

    Args:
        data: images.
        masks: of `walk_masks`.
        run: where weights and masks go.
        settings: network, epochs, rates, and the size at which it predicts.
        runtime: device, precision and seed.
        net: any segmenter for the run's classes, trained in place; None: one is built as `settings` says.

    Returns:
        The trained segmenter.

    Raises:
        ValueError: if `net` does not give logits of the run's classes for every pixel.
    """
    after = (CLASSIFY, WALK) if net is None and settings.start_from == "classifier" else (WALK,)
    given = None if net is None else GivenSegmenter.of(net)
    stage = run.open_stage(STAGE, settings if given is None else (settings, given), after=after)
    classes = len(data.class_names)
    curves = stage.summary().curves if stage.finished else stage.noted("curves", Curves)
    if net is None:
        net = build_segmenter(settings, classes, None if curves is not None else run, runtime)
    else:
        check_segmenter(net, classes)
    if curves is not None:
        load_trained(net, stage.load_weights(), stage.path)
    else:
        curves = learn_masks(net, data, masks, settings, runtime=runtime, store=stage).history
        stage.save_weights(net.state_dict())
        stage.note("curves", curves)
    if stage.finished:
        return net
    _predict_all(data, net, run, settings, runtime)
    what = settings.backbone if given is None else given.segmenter
    name = "" if given is None else given.segmenter
    stage.finish_training(what, curves, epochs=settings.epochs, images=len(data.names), segmenter=name)
    return net


def _predict_all(data: TagDataset, net: Segmenter, run: RunFolder, settings: SegmentSettings, runtime: Runtime) -> None:
    """The segmenter's masks of all training and held-out images that lack one."""
    predictions, turns = run.predictions, Turns(runtime.device, settings.max_side)
    eval_net = looking_segmenter(net, runtime)

    def work(name: str) -> None:
        with turns.take(), runtime.inference(module_of(eval_net)):
            mask = predict_mask(data[name], eval_net, settings, runtime)
        predictions.write(name, mask)

    map_images(work, predictions.missing((*data.names, *data.val_names)), f"{STAGE} predict")
