"""What a training shows of the vehicles that it holds out: its worst rankings and where it looks."""

import copy
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.measuring.protocols import Draw, Plan
from model_export.network.mvan import MVAN
from model_export.reporting.attention_sheet import attention_sheet, looks
from model_export.reporting.cases import worst_cases
from model_export.reporting.checkpoint_model import CheckpointModel
from model_export.reporting.drawing import stacked
from model_export.reporting.ranking_sheet import ranking_sheet
from model_export.training.mnet_training import Held, Training, held_positions

_CASES = 3


def training_pictures(config: Training) -> Callable[[MVAN, Held, NDArray[np.float32]], Mapping[str, Image.Image]]:
    """The ``look`` of a training: pictures ``ranking`` and ``attention`` of the probes that are most wrong."""

    def look(model: MVAN, held: Held, vectors: NDArray[np.float32]) -> Mapping[str, Image.Image]:
        positions = held_positions(held)
        planned = Plan(
            data_set=held.name, protocol="cross-camera", rows=tuple(held.gallery), tested=positions,
            draws={"": (Draw(positions, np.arange(len(held.gallery))),)},
        )  # fmt: skip
        cases, _ = worst_cases(planned, {config.name: vectors}, count=_CASES, progress=False)
        opened = CheckpointModel(copy.deepcopy(model).cpu(), config, "")  # training measures on with its own
        seen = [sheet for case in cases if (sheet := looks(opened, case))]
        pictures = {"ranking": stacked([ranking_sheet(case) for case in cases])}
        return pictures | ({"attention": stacked([attention_sheet(each) for each in seen])} if seen else {})

    return look
