"""The names of the folders of a run: the numbers are those of the files in ``stages/``."""

from __future__ import annotations

STAGES = ("01_classify", "02_localize", "03_seed", "04_affinity", "05_walk", "06_segment")
"""The folders of a run, in pipeline order."""

CLASSIFY, LOCALIZE, SEED, AFFINITY, WALK, SEGMENT = STAGES

ROUNDS = "rounds"
"""The folder of the EM rounds: in it one folder per round, ``1``, ``2`` ..., and the superpixels of all."""

OLD_ROUNDS = "em"
"""Where version 0.1.0 had them."""

SUPERPIXELS = f"{ROUNDS}/0_superpixels"

ROUND_STAGES = ("1_unary", "2_estimate", "3_mine", "4_pairwise", "5_refine", "5_sharpen")
"""The folders of an EM round, in their order."""

UNARY, ESTIMATE, MINE, PAIRWISE, REFINE, SHARPEN = ROUND_STAGES

OPTIONAL = (PAIRWISE, SHARPEN)
"""Stages of a round that settings can do without."""
