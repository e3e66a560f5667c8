"""BentoML with the service's model: the other peer that `make bench-serve` measures.

    PEER_MODEL=… PEER_ROWS=… PEER_CORES=2 PEER_BATCH=1 bentoml serve scripts.peers.bentoml_service:VehicleSearch

A process a core; bodies come to workers as files, which is how BentoML hands bytes on. Batches are its own (adaptive).
"""

from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from scripts.peers.peer_search import PeerSearch, cores, largest_batch


@bentoml.service(workers=cores(), traffic={"timeout": 120}, logging={"access": {"enabled": False}})
class VehicleSearch:
    """Searching, and keeping in memory."""

    def __init__(self) -> None:
        self.peer = PeerSearch()

    if largest_batch() > 1:

        @bentoml.api(route="/search", batchable=True, max_batch_size=largest_batch())  # type: ignore[untyped-decorator]
        def search(self, image: list[Path]) -> list[dict[str, Any]]:
            """A form with one picture."""
            return self.peer.search([path.read_bytes() for path in image])

    else:

        @bentoml.api(route="/search")  # type: ignore[untyped-decorator]
        def search(self, image: Annotated[Path, ContentType("image/jpeg")], /) -> dict[str, Any]:
            """A picture as the body."""
            return self.peer.search([image.read_bytes()])[0]

    @bentoml.api(route="/search/batch")  # type: ignore[untyped-decorator]
    def search_batch(self, image: list[Path]) -> dict[str, Any]:
        """Pictures as parts of a form."""
        return {"results": self.peer.search([path.read_bytes() for path in image])}

    @bentoml.api(route="/images")  # type: ignore[untyped-decorator]
    def images(self, image: list[Path]) -> dict[str, Any]:
        """As that, to be kept."""
        return self.peer.add([path.read_bytes() for path in image])
