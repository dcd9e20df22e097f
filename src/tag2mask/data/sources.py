"""Where images and tags come from: plain functions that return a `TagDataset`.

To add a source, write a function that fills a `FileDataset`, and name it here.
"""

from tag2mask.data.coco import open_coco
from tag2mask.data.coco_folder import coco_splits, open_coco_folder
from tag2mask.data.files import FileDataset
from tag2mask.data.folder import open_folder
from tag2mask.data.save import save_folder
from tag2mask.data.voc import VOC_CLASSES, open_voc, voc_splits

__all__ = [
    "VOC_CLASSES",
    "FileDataset",
    "coco_splits",
    "open_coco",
    "open_coco_folder",
    "open_folder",
    "open_voc",
    "save_folder",
    "voc_splits",
]
