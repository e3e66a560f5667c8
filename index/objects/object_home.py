"""Which home objects have, by its address."""

from pathlib import Path

from index.errors import InvalidValue, StorageError
from index.objects.folder_objects import FolderObjects
from index.objects.object_store import ObjectStore


def open_objects(
    url: str, *, endpoint: str | None = None, access_key: str | None = None, secret_key: str | None = None
) -> ObjectStore:
    """A folder's path or ``file://``, or ``s3://BUCKET/PREFIX`` and what else fsspec reaches; see ``FsspecObjects``.

    Raises InvalidValue where ``url`` is none of these, StorageError where the store cannot be used.
    """
    scheme, separator, rest = url.partition("://")
    if not url or (separator and not (scheme and rest)):
        raise InvalidValue(f"crops_url {url!a} names no place: a folder, file:///FOLDER, or s3://BUCKET/PREFIX")
    if not separator or scheme == "file":
        return FolderObjects(Path(rest if separator else url))
    try:
        from index.objects.fsspec_objects import FsspecObjects
    except ImportError as error:
        raise StorageError(f"crops_url {url!a} needs the extra s3: pip install 'vehicle-search[s3]'") from error
    return FsspecObjects(url, endpoint=endpoint, access_key=access_key, secret_key=secret_key)
