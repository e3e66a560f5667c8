"""The current V-Net, from an exported model file or from a checkpoint, asked about pictures."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx.utils import Extractor

from index.contract import METADATA_KEY, Contract, Resize
from index.crops import cut, model_crop, read_picture
from index.errors import ContractError, ModelError, PictureError
from index.machine.cpu_quota import usable_cpus
from index.manifest import ManifestRow

MAX_PIXELS = 100_000_000  # of a picture

_BATCH = 64
_ERRORS_ONLY = 3


class ViewpointModel(Protocol):
    """A V-Net: ``viewpoints`` name its columns, ``resize`` makes its crops."""

    name: str
    viewpoints: tuple[str, ...]
    resize: Resize
    labels_from: tuple[str, ...]  # data sets whose viewpoint labels it was trained on

    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops uint8 (N, H, W, 3) → p float32 (N, V)."""
        ...


class ModelFile:
    """The V-Net of an ONNX file: the part of the graph that ``viewpoint`` depends on, and nothing else of it.

    Raises ModelError (missing, not a model, one viewpoint only) and ContractError.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ModelError(f"there is no model file {path}; name one that `vehicle-model export` wrote")
        try:
            whole = onnx.load(path)
        except Exception as error:  # protobuf's own exceptions share no base but this one
            raise ModelError(f"{path} is not an ONNX model that can be opened; for a checkpoint use --vnet") from error
        text = next((each.value for each in whole.metadata_props if each.key == METADATA_KEY), None)
        if text is None:
            raise ContractError(f"{path} has no contract; use a file that `vehicle-model export` wrote")
        contract = Contract.from_json(text)
        if not contract.has_viewpoint:
            raise ModelError(f"{path} knows one viewpoint only; name a model with a V-Net")
        self.name, self.viewpoints, self.resize = path.name, contract.viewpoints, contract.resize
        self.labels_from = tuple(name for name in contract.viewpoint_labels_from.split(", ") if name)
        options = ort.SessionOptions()
        options.intra_op_num_threads = usable_cpus()
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leaves cores to decoding
        try:
            # run whole with `viewpoint` alone fetched, ONNX Runtime 1.32 computes the branches too: ten times the work
            part = Extractor(whole).extract_model(["crops"], ["viewpoint"])
            self._session = ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # neither library has a base of its own
            raise ModelError(f"{path} has no V-Net that runs alone; is it a file of `vehicle-model export`?") from error

    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        outputs: list[Any] = self._session.run(["viewpoint"], {"crops": crops})
        return _checked(np.asarray(outputs[0], dtype=np.float32), len(crops), self)


class VNetCheckpoint:
    """A V-Net that ``vehicle-model train-vnet`` wrote, its averaged weights. Raises ModelError."""

    def __init__(self, path: Path) -> None:
        from model_export.network.mvan import VNet
        from model_export.training.checkpoint import load_checkpoint
        from model_export.training.configuration import from_mapping
        from model_export.training.vnet_training import VNetTraining

        content = load_checkpoint(path, kind="vnet")
        config = from_mapping(VNetTraining, content["config"])
        size = config.model.vnet_size
        self._net = VNet(replace(config.model, input_size=size))
        self._net.load_state_dict(content["weights"])
        self._net.eval()
        self.name, self.viewpoints = path.name, config.model.viewpoints
        self.resize = Resize(size=(size, size), crop=(size, size))
        self.labels_from = tuple(content["trained_on"])

    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        with torch.no_grad():
            p = self._net(torch.from_numpy(crops).permute(0, 3, 1, 2).float())  # (N, V)
        return _checked(p.numpy(), len(crops), self)


@dataclass(frozen=True)
class Guesses:
    """What V-Net says of N pictures: ``probabilities`` float32 (N, V), NaN in the rows of broken ones.

    ``broken`` has the position of every picture that could not be read, and why.
    """

    probabilities: NDArray[np.float32]
    broken: dict[int, str]


def open_viewpoint_model(*, model: Path | None = None, vnet: Path | None = None) -> ViewpointModel | None:
    """The V-Net of a model file or of a checkpoint, None where neither is named."""
    if model is not None:
        return ModelFile(model)
    return None if vnet is None else VNetCheckpoint(vnet)


def guess(
    model: ViewpointModel, rows: Sequence[ManifestRow], *, report: Callable[[int], object] = lambda _: None
) -> Guesses:
    """Ask V-Net about every picture. ``report`` is given the number of pictures just done."""
    probabilities = np.full((len(rows), len(model.viewpoints)), np.nan, dtype=np.float32)
    broken: dict[int, str] = {}
    with ThreadPoolExecutor(usable_cpus(), thread_name_prefix="decode") as pool:
        for batch in _ahead(pool, rows, model.resize):
            broken.update((n, crop) for n, crop in batch if isinstance(crop, str))
            read = [(n, crop) for n, crop in batch if not isinstance(crop, str)]
            if read:
                probabilities[[n for n, _ in read]] = model.probabilities(np.stack([crop for _, crop in read]))
            report(len(batch))
    return Guesses(probabilities, broken)


def _ahead(
    pool: ThreadPoolExecutor, rows: Sequence[ManifestRow], resize: Resize
) -> Iterator[list[tuple[int, NDArray[np.uint8] | str]]]:
    """Batches of (position, crop or what is wrong with it); the next one is decoded while this one is used."""
    waiting: list[Any] = []
    for start in range(0, len(rows), _BATCH):
        numbers = range(start, min(start + _BATCH, len(rows)))
        waiting.append([(n, pool.submit(_crop, rows[n], resize)) for n in numbers])
        if len(waiting) > 1:
            yield [(n, crop.result()) for n, crop in waiting.pop(0)]
    for batch in waiting:
        yield [(n, crop.result()) for n, crop in batch]


def _crop(row: ManifestRow, resize: Resize) -> NDArray[np.uint8] | str:
    try:
        image = read_picture(row.path.read_bytes(), max_pixels=MAX_PIXELS)
        return model_crop(cut(image, row.box) if row.box else image, resize)
    except OSError as error:
        return error.strerror or str(error)
    except PictureError as error:
        return str(error)


def _checked(p: NDArray[np.float32], rows: int, model: ViewpointModel) -> NDArray[np.float32]:
    if p.shape != (rows, len(model.viewpoints)) or not np.isfinite(p).all():
        raise ModelError(f"{model.name} gave viewpoints of shape {p.shape} or not finite; it cannot be used")
    return p
