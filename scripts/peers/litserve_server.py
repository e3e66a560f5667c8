"""LitServe with the service's model: the peer that `make bench-serve` measures.

    PEER_MODEL=… PEER_ROWS=… PEER_CORES=2 PEER_BATCH=1 python -m scripts.peers.litserve_server PORT

Bodies come to workers as bytes: a raw picture, or the parts of a form. Batches are LitServe's own (`max_batch_size`).
"""

import sys
from typing import Annotated, Any

import litserve
from fastapi import Body, File

from scripts.peers.peer_search import BATCH_SECONDS, PeerSearch, cores, largest_batch


class Search(litserve.LitAPI):  # type: ignore[misc]
    """A picture as the body."""

    def setup(self, device: str) -> None:
        self.peer = PeerSearch()

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> bytes:
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def predict(self, x: bytes | list[bytes]) -> Any:
        return self.peer.search(x) if isinstance(x, list) else self.peer.search([x])[0]

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


class SearchBatch(litserve.LitAPI):  # type: ignore[misc]
    """Pictures as parts of a form."""

    def setup(self, device: str) -> None:
        self.peer = PeerSearch()

    def decode_request(self, request: Annotated[list[bytes], File(alias="image")]) -> list[bytes]:
        return request

    def predict(self, x: list[bytes]) -> Any:
        return {"results": self.peer.search(x)}

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


class Images(SearchBatch):
    """As that, to be kept."""

    def predict(self, x: list[bytes]) -> Any:
        return self.peer.add(x)


def main(port: int) -> None:
    """Serve until killed."""
    most = largest_batch()
    together = {"max_batch_size": most, "batch_timeout": BATCH_SECONDS} if most > 1 else {}
    server = litserve.LitServer(
        [Search(api_path="/search", **together), SearchBatch(api_path="/search/batch"), Images(api_path="/images")],
        accelerator="cpu", workers_per_device=cores(), fast_queue=FAST_QUEUE,
    )  # fmt: skip
    server.run(
        host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False, log_level="warning",
        access_log=False,
    )  # fmt: skip


FAST_QUEUE = False

if __name__ == "__main__":
    main(int(sys.argv[1]))
