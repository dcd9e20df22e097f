"""The public names, in the order of the pipeline; the only list of them."""

from .datasets.coco import open_coco as open_coco
from .datasets.folder import open_folder as open_folder
from .datasets.save_folder import save_folder as save_folder
from .datasets.scenes.scenes import make_scenes as make_scenes
from .datasets.voc import open_voc as open_voc
from .labels import BACKGROUND as BACKGROUND
from .labels import IGNORE as IGNORE
from .learning.segmenter import Segmenter as Segmenter
from .nets.affinity_net import AffinityNet as AffinityNet
from .nets.classifier import CamClassifier as CamClassifier
from .ops.crf import CrfSettings as CrfSettings
from .ops.crf import dense_crf as dense_crf
from .ops.random_walk import random_walk as random_walk
from .pipelines.affinitynet import AffinityNetSettings as AffinityNetSettings
from .pipelines.affinitynet import run_affinitynet as run_affinitynet
from .pipelines.ial import run_ial as run_ial
from .pipelines.ial_settings import IALSettings as IALSettings
from .pipelines.predict import load as load
from .progress import reporting as reporting
from .report.page import write_report as write_report
from .runs.run_folder import RunFolder as RunFolder
from .runtime import Runtime as Runtime
from .scores.confusion import Confusion as Confusion
from .scores.score import score as score
from .scores.score_table import ScoreTable as ScoreTable

__version__: str
