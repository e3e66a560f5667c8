"""Every error that this project raises on purpose.

Raised deep, translated once: the service turns them into problem+json in one module, the command-line doors print
them as one line.

VehicleSearchError
├── PictureError                 the bytes or the box of one picture
│   ├── UndecodablePicture       damaged, truncated or empty
│   ├── UnsupportedPicture       not one of the types that are read
│   ├── PictureTooLarge          more pixels than the limit
│   │   └── PictureTooLong       a side longer than any may be
│   └── BoxOutsidePicture        the box does not lie inside the upright picture
├── InvalidValue                 a value that breaks a stated rule; carries a JSON pointer
├── NotFound                     GalleryNotFound, ImageNotFound, KeyNotFound, MigrationNotFound, PlanNotFound,
│                                QueryNotFound, FeedbackNotFound
├── Conflict                     GalleryConflict, EmbeddingSpaceMismatch, NotMigratable, QueriesNotKept, NothingKept,
│                                TooMuchFeedback, JobTaken
├── ReadOnly                     a write, where only reading was asked for
├── EmbeddingNotFinite           NaN or infinity where a vector was expected
├── ModelError                   no model, or one that does not work
│   ├── ContractError            the file says nothing, or something unknown, about itself
│   └── DeviceUnavailable        the wanted provider is not there or is not used
├── IndexDeviceUnavailable       galleries cannot be searched on the wanted device
└── StorageError                 the data folder
    ├── DataFolderLocked         another process owns it
    ├── DataFolderUnusable       missing rights, or a layout of a newer release
    ├── GalleryUnavailable       one that is damaged, among others that are not
    ├── GalleryServerUnavailable the server that galleries are on does not answer, or not us
    ├── LogDamaged               damage in a database's log hides commits from SQLite
    ├── StorageFull              no space left; nothing was written
    └── NotEnoughMemory          an index would need more than the machine has left

What one gallery's folder, disk or index can raise is ``GALLERY_TROUBLE``: it keeps no other gallery from being used.
"""

from typing import Final


class VehicleSearchError(Exception):
    """Root of the tree; its message is written for the person who has to act on it."""


class PictureError(VehicleSearchError):
    """Something is wrong with one picture."""


class UndecodablePicture(PictureError):
    """The bytes are damaged, truncated or empty."""


class UnsupportedPicture(PictureError):
    """The bytes are not one of the picture types that are read."""


class PictureTooLarge(PictureError):
    """The picture has more pixels than the limit allows."""


class PictureTooLong(PictureTooLarge):
    """A side has more pixels than any picture may have."""


class BoxOutsidePicture(PictureError):
    """The box does not lie inside the upright picture."""


class InvalidValue(VehicleSearchError):
    """A value breaks a stated rule; ``pointer`` is an RFC 6901 pointer to it."""

    def __init__(self, message: str, *, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer


class NotFound(VehicleSearchError):
    """The named thing does not exist."""


class GalleryNotFound(NotFound):
    """No gallery of that name."""


class ImageNotFound(NotFound):
    """No image of that id in the gallery."""


class KeyNotFound(NotFound):
    """No key of that id."""


class MigrationNotFound(NotFound):
    """No migration of that id in the gallery."""


class PlanNotFound(NotFound):
    """No picture of where the cameras stand."""


class QueryNotFound(NotFound):
    """No picture is kept for a query of that id, or no more."""


class FeedbackNotFound(NotFound):
    """No feedback of that id in the gallery."""


class Conflict(VehicleSearchError):
    """The request is sound but does not fit what is stored."""


class GalleryConflict(Conflict):
    """The gallery exists with other properties, or may not be dropped."""


class EmbeddingSpaceMismatch(Conflict):
    """The vectors of the model and those of the gallery may not be compared."""


class NotMigratable(Conflict):
    """The gallery cannot be moved to that model, or need not be."""


class QueriesNotKept(Conflict):
    """Pictures of queries are not kept here."""


class NothingKept(Conflict):
    """The gallery has no crop of an image, so that nothing could be learnt from feedback on it."""


class TooMuchFeedback(Conflict):
    """A gallery has as much feedback as may be kept."""


class JobTaken(Conflict):
    """Another replica carries an import job on: what this one had of it is over."""


class ReadOnly(VehicleSearchError):
    """A write, where the data folder was opened for reading only."""


class EmbeddingNotFinite(VehicleSearchError):
    """A vector holds NaN or infinity."""


class ModelError(VehicleSearchError):
    """The model file is missing or does not work."""


class ContractError(ModelError):
    """The model file's contract is missing, or a field of it is missing, wrong or unknown."""


class DeviceUnavailable(ModelError):
    """The wanted execution provider is not available, or is not the one that runs."""


class IndexDeviceUnavailable(VehicleSearchError):
    """The device that galleries are to be searched on is missing, or does not answer as the processors do."""


class StorageError(VehicleSearchError):
    """The data folder cannot do what was asked."""


class DataFolderLocked(StorageError):
    """Another process owns the data folder."""


class DataFolderUnusable(StorageError):
    """The data folder cannot be read or written, or a newer release wrote it."""


class GalleryUnavailable(StorageError):
    """A gallery that could not be opened, which keeps no other from being used."""


class GalleryServerUnavailable(StorageError):
    """The server that galleries are on does not answer, or refuses what it is asked."""


class LogDamaged(StorageError):
    """A database's log is damaged where SQLite would stop reading it, and commits follow."""


class NotEnoughMemory(StorageError):
    """An index would need more memory than this machine or its container has left."""


class StorageFull(StorageError):
    """No space is left on the device; nothing of the failed write remains."""


GALLERY_TROUBLE: Final = (VehicleSearchError, OSError, MemoryError, RuntimeError)
"""A gallery's own trouble: ours, its files', the memory's, and FAISS's, whose errors are RuntimeErrors."""


def trouble_of(error: BaseException) -> str:
    """What to tell of a gallery's trouble, in one line."""
    return " ".join(str(error).split()) or ("not enough memory" if isinstance(error, MemoryError) else repr(error))
