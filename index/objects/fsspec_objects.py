"""Objects in any store that fsspec reaches; S3-compatible ones by s3fs (extra ``s3``)."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import fsspec

from index.errors import StorageError
from index.objects.object_store import ObjectMissing, place_of

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 60.0  # without a byte
ATTEMPTS: Final = 3


class FsspecObjects:
    """See ``ObjectStore``. ``url`` names a scheme that fsspec knows, then a bucket or folder, made where missing.

    ``endpoint`` is the address of an S3-compatible store that is not Amazon's; without ``access_key`` and
    ``secret_key`` the machine's own identity is used. Raises StorageError where the store does not answer as it should.
    """

    def __init__(
        self, url: str, *, endpoint: str | None = None, access_key: str | None = None, secret_key: str | None = None
    ) -> None:
        self.url = url
        scheme, _, root = url.partition("://")
        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if scheme == "s3":
            options |= {
                "endpoint_url": endpoint, "key": access_key, "secret": secret_key,
                "config_kwargs": {
                    "connect_timeout": CONNECT_SECONDS, "read_timeout": ANSWER_SECONDS,
                    "retries": {"total_max_attempts": ATTEMPTS, "mode": "standard"},
                },
            }  # fmt: skip
        with self._translated():
            try:
                self._files: Any = fsspec.filesystem(scheme, **options)
            except (ImportError, ValueError) as error:  # of a package that is missing, of a scheme that is none
                raise StorageError(
                    f"objects cannot be kept in {url}: {error}; the extra s3 brings s3://, other schemes their packages"
                ) from error
            self._root = root.strip("/") if scheme == "s3" else f"/{root.strip('/')}"
            if not self._root.strip("/"):
                raise StorageError(f"objects cannot be kept in {url}: it names no bucket and no folder")
            if not self._files.exists(self._root.partition("/")[0] if scheme == "s3" else self._root):
                self._files.mkdir(self._root, create_parents=True)

    def put(self, gallery: str, name: str, data: bytes) -> None:
        place = self._place(gallery, name)
        with self._translated():
            self._files.pipe_file(place, data)

    def get(self, gallery: str, name: str) -> bytes:
        place = self._place(gallery, name)
        with self._translated():
            data: bytes = self._files.cat_file(place)
        return data

    def delete(self, gallery: str, name: str) -> None:
        place = self._place(gallery, name)
        with self._translated():
            try:
                self._files.rm_file(place)
            except FileNotFoundError:
                return

    def names(self, gallery: str) -> Iterator[tuple[str, datetime]]:
        for part in self._listed(f"{self._root}/{place_of(gallery, 'x')[0]}"):
            for found in self._listed(part["name"]):
                with self._translated():
                    put = found.get("LastModified") or self._files.modified(found["name"])
                yield found["name"].rpartition("/")[2], put.astimezone(UTC)

    def drop(self, gallery: str) -> None:
        folder = f"{self._root}/{place_of(gallery, 'x')[0]}"
        with self._translated():
            try:
                self._files.rm(folder, recursive=True)
            except FileNotFoundError:
                return

    def send(self, gallery: str, name: str, file: Path) -> None:
        place = self._place(gallery, name)
        with self._translated():
            self._files.put_file(str(file), place)

    def fetch(self, gallery: str, name: str, file: Path) -> None:
        place = self._place(gallery, name)
        with self._translated():
            self._files.get_file(place, str(file))

    def close(self) -> None:
        """What is open closes with the process."""

    def _place(self, gallery: str, name: str) -> str:
        return "/".join((self._root, *place_of(gallery, name)))

    def _listed(self, folder: str) -> list[dict[str, Any]]:
        """What is in a folder, nothing where there is none."""
        with self._translated():
            try:
                found: list[dict[str, Any]] = self._files.ls(folder, detail=True)
            except FileNotFoundError:
                return []
        return [each for each in found if each["name"].strip("/") != folder.strip("/")]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (StorageError, GeneratorExit):
            raise
        except FileNotFoundError as error:
            raise ObjectMissing(f"an object of {self.url} is not there") from error
        except Exception as error:  # each store has errors of its own, which have no root but this
            raise StorageError(f"objects cannot be kept in {self.url}: {' '.join(str(error).split())}") from error
