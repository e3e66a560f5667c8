"""Which home objects have, by its address."""

from pathlib import Path

from index.errors import InvalidValue, StorageError
from index.objects.folder_objects import FolderObjects
from index.objects.object_store import ObjectStore
from index.secret_file import read_secret


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


def open_crops(
    url: str, *, endpoint: str | None, access_key_file: Path | None, secret_key_file: Path | None
) -> ObjectStore:
    """As ``open_objects``, with the keys in files; InvalidValue where one of these cannot be read."""
    files = {"crops_access_key_file": access_key_file, "crops_secret_key_file": secret_key_file}
    access_key, secret_key = (None if file is None else read_secret(file, setting=name) for name, file in files.items())
    return open_objects(url, endpoint=endpoint, access_key=access_key, secret_key=secret_key)
