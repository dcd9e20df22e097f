"""Images and pseudo masks -> segmenter weights and its masks of new images (Ahn & Kwak, CVPR 2018, section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tag2mask.disk import write_labels, write_unit
from tag2mask.learning.segmenting import LabelSource, SegmentSettings, build_segmenter, learn_masks, predict_mask
from tag2mask.nets.looking import fused_on
from tag2mask.parallel import Turns, map_images

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.nets.segmenter import Segmenter
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runtime import Runtime

STAGE = "06_segment"


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
    if stage.finished or "curves" in stage.notes():
        net = build_segmenter(settings, classes, None, runtime)
        net.load_state_dict(stage.load_weights())
        curves = stage.notes().get("curves", {})
    else:
        net = build_segmenter(settings, classes, run, runtime)
        curves = learn_masks(net, data, masks, settings, runtime=runtime, store=stage).history
        stage.save_weights(net.state_dict())
        stage.note(curves=curves)
    if stage.finished:
        return net
    names = [f"masks/{name}" for name in (*data.names, *data.val_names)]
    turns, looking = Turns(runtime.device, settings.max_side), fused_on(net, runtime)

    def work(path: str) -> None:
        name = path.removeprefix("masks/")
        image = data[name]
        with turns.take(), runtime.inference(looking):
            mask = predict_mask(image, looking, settings, runtime)
        write_unit(stage.file(f"confidence/{name}", ".png"), mask.confidence)
        # Last, because this file says that the image is done.
        write_labels(stage.file(path, ".png"), mask.labels, classes)

    map_images(work, stage.missing(names, ".png"), f"{STAGE} predict")
    stage.finish_training(settings.backbone, curves, epochs=settings.epochs, images=len(data.names))
    return net
