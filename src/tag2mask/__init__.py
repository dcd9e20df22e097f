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

from importlib.metadata import PackageNotFoundError, version

import lazy_loader

try:
    __version__ = version("tag2mask")
except PackageNotFoundError:  # Its files are used where they lie.
    __version__ = "unknown"

# The names stand in __init__.pyi, and are imported when first asked for, so that the command line answers at once.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
