"""A Milvus server: every call has a deadline, and what goes wrong becomes an error that names the server."""

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from index.errors import GalleryNotFound, GalleryServerUnavailable, InvalidValue

SECONDS: Final = 20.0  # for one call
STRONG: Final = "Strong"  # every answer has what was written before it was asked
_LOADING_SECONDS, _LOOK_SECONDS = 120, 0.05
_RECONNECT_MS: Final = 1000  # between tries, at most; gRPC's grow to 120 s, for which one that is back is not found
_GONE = 100  # the collection does not exist
_REFUSED = ("auth", "permission", "credential", "unauthenticated")
_LOG = logging.getLogger("pymilvus")


def is_address(text: str) -> bool:
    """Whether a text is a server's address that names nobody: http://HOST:PORT or https://HOST:PORT."""
    return re.fullmatch(r"https?://[^/@\s]+/?", text) is not None


class MilvusServer:
    """One server by its ``uri``. Safe to call from any thread.

    Raises GalleryServerUnavailable where it does not answer in ``seconds``, does not know the token, or refuses a call,
    and GalleryNotFound where a collection is no more.
    """

    def __init__(self, uri: str, *, token_file: Path | None = None, seconds: float = SECONDS) -> None:
        try:
            from pymilvus import MilvusClient
            from pymilvus.exceptions import MilvusException
        except ImportError as error:
            raise GalleryServerUnavailable(
                "galleries on Milvus need the extra milvus: pip install 'vehicle-search[milvus]'"
            ) from error
        import grpc

        self.uri, self._seconds = uri, seconds
        self._trouble = (MilvusException, grpc.RpcError, ValueError, OSError)
        _LOG.setLevel(logging.CRITICAL)  # it writes a traceback of what is raised here
        token = "" if token_file is None else _token(token_file)
        with self._told("connect"):
            self._client: Any = MilvusClient(
                uri, token=token, timeout=seconds, dedicated=True,
                grpc_options={"grpc.max_reconnect_backoff_ms": _RECONNECT_MS},
            )  # fmt: skip

    def call(self, name: str, *words: Any, **options: Any) -> Any:
        """What a method of the client gives."""
        with self._told(name):
            return getattr(self._client, name)(*words, timeout=self._seconds, **options)

    def query(self, collection: str, condition: str, fields: Sequence[str], **options: Any) -> list[dict[str, Any]]:
        """The rows that pass, at most 16,384; as of now."""
        return list(
            self.call(
                "query", collection, filter=condition, output_fields=list(fields), consistency_level=STRONG, **options
            )
        )

    def count(self, collection: str, condition: str) -> int:
        """How many rows pass, as of now."""
        (row,) = self.query(collection, condition, ["count(*)"])
        return int(row["count(*)"])

    def insert(self, collection: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows: all can be seen, or none."""
        self.call("insert", collection, list(rows))

    def delete(self, collection: str, row_ids: Sequence[int]) -> None:
        """Erase rows by primary key: none can be seen from now on."""
        if row_ids:
            self.call("delete", collection, ids=list(row_ids))

    def rename(self, collection: str, name: str) -> None:
        """Give a collection another name; of several who do it at once one succeeds, others get GalleryNotFound."""
        self.call("rename_collection", collection, name)

    def create(self, collection: str, schema: Any, vectors: str, kind: Mapping[str, Any]) -> None:
        """Make a collection with an index of the field ``vectors``, and wait until it can be searched.

        One that is there, and is the same, stays.
        """
        self.call("create_collection", collection, schema=schema, consistency_level=STRONG)
        self.load(collection, vectors, kind)

    def is_loaded(self, collection: str) -> bool:
        """Whether a collection is there and can be searched."""
        try:
            return bool(self.call("get_load_state", collection)["state"].name == "Loaded")
        except GalleryNotFound:
            return False

    def load(self, collection: str, vectors: str, kind: Mapping[str, Any]) -> None:
        """See that a collection has its index and can be searched, and wait for that."""
        from pymilvus import MilvusClient

        index = MilvusClient.prepare_index_params()
        index.add_index(vectors, metric_type="L2", **kind)
        self.call("create_index", collection, index, sync=False)
        self.call("load_collection", collection, _async=True)
        until = time.monotonic() + _LOADING_SECONDS
        while not self.is_loaded(collection):
            if time.monotonic() > until:
                raise GalleryServerUnavailable(
                    f"the Milvus server {self.uri} did not load {collection} within {_LOADING_SECONDS} s: see its log"
                )
            time.sleep(_LOOK_SECONDS)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except self._trouble as error:
            told = " ".join(str(getattr(error, "message", "") or error).split())[:300]
            code = getattr(error, "code", None)
            if code == _GONE or "collection not found" in told or "can't find collection" in told:
                raise GalleryNotFound("the gallery was dropped from the Milvus server meanwhile") from error
            if any(word in told.lower() for word in _REFUSED):
                raise GalleryServerUnavailable(
                    f"the Milvus server {self.uri} does not take the token: check milvus_token_file ({told})"
                ) from error
            raise GalleryServerUnavailable(
                f"the Milvus server {self.uri} did not do {doing}: {told}; see that it runs, can be reached and takes "
                "the token in milvus_token_file, then ask again"
            ) from error


def _token(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"milvus_token_file {file} cannot be read: {error}") from error
