"""What a peer of the service is made of, whichever tool serves it: one picture in, ranked matches out, in memory.

The model file, how pictures become crops (`index.crops`) and the options of the session are the service's own; vectors
are in FAISS's flat index, everything else about an image in a list beside it.
"""

import os
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from index.contract import METADATA_KEY, Contract
from index.crops import model_crop, read_picture, stored_crop

MODEL: Final = "PEER_MODEL"  # environment: the model file
ROWS: Final = "PEER_ROWS"  # environment: an .npz of `embedding` float32 (N, D) and texts `image_id`, `vehicle_id`
CORES: Final = "PEER_CORES"  # environment: workers
BATCH: Final = "PEER_BATCH"  # environment: largest batch that the tool may put together; 1: it does not
BATCH_SECONDS: Final = 0.005  # that it may wait for one

_MOST_PIXELS: Final = 50_000_000


def cores() -> int:
    """Workers, each a process with a model that runs on one thread."""
    return int(os.environ[CORES])


def largest_batch() -> int:
    """Pictures that the tool may embed together."""
    return int(os.environ[BATCH])


class PeerSearch:
    """A model and a gallery, in one process. Searches may come from several threads."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = Path(os.environ[MODEL])
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._contract = Contract.from_json(self._session.get_modelmeta().custom_metadata_map[METADATA_KEY])
        self._fetches = ["embedding", "viewpoint"] if self._contract.has_viewpoint else ["embedding"]
        faiss.omp_set_num_threads(1)
        rows = np.load(os.environ[ROWS])
        self._gallery = faiss.IndexFlatL2(self._contract.embedding_dim)
        self._gallery.add(rows["embedding"])
        self._images = list(zip(rows["image_id"].tolist(), rows["vehicle_id"].tolist(), strict=True))
        self._ingested = faiss.IndexFlatL2(self._contract.embedding_dim)
        self._ingested_images: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()

    def search(self, pictures: list[bytes], top_k: int = 10) -> list[dict[str, Any]]:
        """An answer a picture, as the service gives it."""
        began = time.perf_counter()
        resize = self._contract.resize
        crops = [model_crop(read_picture(data, max_pixels=_MOST_PIXELS), resize) for data in pictures]
        decoded = time.perf_counter()
        embedding, viewpoint = self._embed(np.stack(crops))
        embedded = time.perf_counter()
        squared, found = self._gallery.search(embedding, top_k)
        distances = np.sqrt(np.maximum(squared, 0))
        searched = time.perf_counter()
        timing = {
            "decode": round((decoded - began) * 1000, 3), "embed": round((embedded - decoded) * 1000, 3),
            "search": round((searched - embedded) * 1000, 3),
        }  # fmt: skip
        return [
            {
                "viewpoint": viewpoint[n],
                "matches": [
                    self._match(rank, int(row), float(distance))
                    for rank, (row, distance) in enumerate(zip(found[n], distances[n], strict=True), 1)
                ],
                "timing_ms": timing,
            }
            for n in range(len(pictures))
        ]

    def add(self, pictures: list[bytes]) -> dict[str, Any]:
        """Embed pictures and keep them in memory: nothing is on the disk, and nobody else can search for them."""
        crops, kept = [], []
        for data in pictures:
            stored = stored_crop(data, box=None, max_pixels=_MOST_PIXELS)
            crops.append(model_crop(stored.image, self._contract.resize))
            kept.append((uuid.uuid4().hex, stored.data))
        embedding, _ = self._embed(np.stack(crops))
        with self._lock:
            self._ingested.add(embedding)
            self._ingested_images += kept
        results = [{"image_id": image_id, "status": "created"} for image_id, _ in kept]
        return {"created": len(pictures), "updated": 0, "failed": 0, "results": results}

    def _embed(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], list[dict[str, float]]]:
        outputs = self._session.run(self._fetches, {"crops": crops})
        if len(outputs) == 1:
            return outputs[0], [{} for _ in crops]
        names = self._contract.viewpoints
        return outputs[0], [
            {name: round(p, 4) for name, p in zip(names, row, strict=True)} for row in outputs[1].tolist()
        ]

    def _match(self, rank: int, row: int, distance: float) -> dict[str, Any]:
        image_id, vehicle_id = self._images[row]
        return {
            "rank": rank, "image_id": image_id, "distance": round(distance, 4), "vehicle_id": vehicle_id,
            "camera_id": "c001", "captured_at": None, "viewpoint": {}, "attributes": {}, "crop": None,
        }  # fmt: skip
