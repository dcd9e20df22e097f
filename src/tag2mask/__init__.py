"""tag2mask: image-level tags in, pixel masks and a segmentation network out.

The pipeline of AffinityNet (Ahn & Kwak, CVPR 2018), one stage per arrow::

    images + tags --classify--> classifier --localize--> class activation maps --seed--> seeds
        --affinity--> AffinityNet --walk--> pseudo masks --segment--> segmenter, masks of new images

and the rounds of IAL (Wang et al., IJCV 2020), from seeds or from pseudo masks::

    masks --learn--> unary network --estimate--> alpha_u --mine--> confident regions
        --learn--> pairwise network --refine--> alpha_p, the masks of the next round

Example::

    import tag2mask as t2m

    data = t2m.open_folder("photos/")  # images/ + tags.csv (+ masks/ if you want scores)
    run = t2m.run_affinitynet(data, "runs/photos", t2m.AffinityNetSettings.quick_for(data))
    run.masks["cat_017"].labels  # (H, W) int64: 0 background, 1..C classes
    print(t2m.score(run, data).table())  # only if masks/ exists
    better = t2m.run_ial(data, "runs/photos_ial", t2m.IALSettings.quick_for(data), start=run)
    t2m.load("runs/photos_ial").predict("new.jpg")  # a new image, no tags needed
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tag2mask.datasets.coco import open_coco
    from tag2mask.datasets.folder import open_folder
    from tag2mask.datasets.save_folder import save_folder
    from tag2mask.datasets.scenes.scenes import make_scenes
    from tag2mask.datasets.voc import open_voc
    from tag2mask.learning.segmenting import Segmenter
    from tag2mask.nets.affinity_net import AffinityNet
    from tag2mask.nets.classifier import CamClassifier
    from tag2mask.ops.cam import background_scores
    from tag2mask.ops.crf import CrfSettings, dense_crf
    from tag2mask.ops.random_walk import random_walk
    from tag2mask.pipelines.affinitynet import AffinityNetSettings, run_affinitynet
    from tag2mask.pipelines.ial import run_ial
    from tag2mask.pipelines.ial_settings import IALSettings
    from tag2mask.pipelines.predict import load
    from tag2mask.records import BACKGROUND, IGNORE
    from tag2mask.report.page import write_report
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runtime import Runtime
    from tag2mask.scores.confusion import Confusion
    from tag2mask.scores.score import score_run as score
    from tag2mask.scores.score_table import ScoreTable

__all__ = [
    "BACKGROUND",
    "IGNORE",
    "AffinityNet",
    "AffinityNetSettings",
    "CamClassifier",
    "Confusion",
    "CrfSettings",
    "IALSettings",
    "RunFolder",
    "Runtime",
    "ScoreTable",
    "Segmenter",
    "background_scores",
    "dense_crf",
    "load",
    "make_scenes",
    "open_coco",
    "open_folder",
    "open_voc",
    "random_walk",
    "run_affinitynet",
    "run_ial",
    "save_folder",
    "score",
    "write_report",
]

# Imported when first asked for, so that the command line answers at once.
_HOMES = {
    "AffinityNet": "nets.affinity_net.AffinityNet",
    "AffinityNetSettings": "pipelines.affinitynet.AffinityNetSettings",
    "BACKGROUND": "records.BACKGROUND",
    "CamClassifier": "nets.classifier.CamClassifier",
    "Confusion": "scores.confusion.Confusion",
    "CrfSettings": "ops.crf.CrfSettings",
    "IALSettings": "pipelines.ial_settings.IALSettings",
    "IGNORE": "records.IGNORE",
    "RunFolder": "runs.run_folder.RunFolder",
    "Runtime": "runtime.Runtime",
    "ScoreTable": "scores.score_table.ScoreTable",
    "Segmenter": "learning.segmenting.Segmenter",
    "background_scores": "ops.cam.background_scores",
    "dense_crf": "ops.crf.dense_crf",
    "load": "pipelines.predict.load",
    "make_scenes": "datasets.scenes.scenes.make_scenes",
    "open_coco": "datasets.coco.open_coco",
    "open_folder": "datasets.folder.open_folder",
    "open_voc": "datasets.voc.open_voc",
    "random_walk": "ops.random_walk.random_walk",
    "run_affinitynet": "pipelines.affinitynet.run_affinitynet",
    "run_ial": "pipelines.ial.run_ial",
    "save_folder": "datasets.save_folder.save_folder",
    "score": "scores.score.score_run",
    "write_report": "report.page.write_report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].rpartition(".")
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return [*__all__, "__doc__"]
