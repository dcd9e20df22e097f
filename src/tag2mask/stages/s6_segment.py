"""Images and pseudo masks -> segmenter weights and its masks of new images (Ahn & Kwak, CVPR 2018, section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tag2mask.learning.segmenting import LabelSource, SegmentSettings, build_segmenter, learn_masks, predict_mask
from tag2mask.nets.looking import fused_on
from tag2mask.parallel import Turns, map_images
from tag2mask.runs.places import SEGMENT as STAGE
from tag2mask.runs.stage_summary import Curves

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.nets.segmenter import Segmenter
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runtime import Runtime


def train_segmenter(
    data: TagDataset, masks: LabelSource, run: RunFolder, settings: SegmentSettings, *, runtime: Runtime
) -> Segmenter:
    """Train the segmenter on pseudo masks and predict all training and held-out images, or find it done.

    Args:
        data: images.
        masks: of `walk_masks`.
        run: where weights and masks go.
        settings: how.
        runtime: where.

    Returns:
        The trained segmenter.
    """
    after = ("01_classify", "05_walk") if settings.start_from == "classifier" else ("05_walk",)
    stage = run.open_stage(STAGE, settings, after=after)
    classes = len(data.class_names)
    curves = stage.summary().curves if stage.finished else stage.noted("curves", Curves)
    if curves is not None:
        net = build_segmenter(settings, classes, None, runtime)
        net.load_state_dict(stage.load_weights())
    else:
        net = build_segmenter(settings, classes, run, runtime)
        curves = learn_masks(net, data, masks, settings, runtime=runtime, store=stage).history
        stage.save_weights(net.state_dict())
        stage.note("curves", curves)
    if stage.finished:
        return net
    predictions, turns, looking = run.predictions, Turns(runtime.device, settings.max_side), fused_on(net, runtime)

    def work(name: str) -> None:
        with turns.take(), runtime.inference(looking):
            mask = predict_mask(data[name], looking, settings, runtime)
        predictions.write(name, mask)

    map_images(work, predictions.missing((*data.names, *data.val_names)), f"{STAGE} predict")
    stage.finish_training(settings.backbone, curves, epochs=settings.epochs, images=len(data.names))
    return net
