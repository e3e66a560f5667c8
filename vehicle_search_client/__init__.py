"""A client of the vehicle search service, to call or to await.

>>> from vehicle_search_client import VehicleSearch
>>> with VehicleSearch("http://127.0.0.1:8000") as search:
...     for match in search.search("car.jpg", top_k=5):
...         print(match.rank, match.image_id, match.distance)
"""

from vehicle_search_client.bulk_upload import BatchSize
from vehicle_search_client.client_errors import (
    BadRequest,
    Busy,
    Conflict,
    DiskFull,
    Fault,
    Forbidden,
    InvalidRequest,
    NotFound,
    Problem,
    Refused,
    TimedOut,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    UnsupportedType,
    UnusableInput,
    VehicleSearchError,
)
from vehicle_search_client.clients import DEFAULT_URL, AsyncVehicleSearch, VehicleSearch
from vehicle_search_client.conversation import Patience
from vehicle_search_client.picture_input import NewImage, Picture
from vehicle_search_client.replies import (
    AddedImage,
    AddedImages,
    AuditPage,
    BatchReply,
    Camera,
    CamerasReply,
    Crop,
    Embedding,
    EmbeddingsReply,
    FacetsReply,
    FeedbackPage,
    FeedbackReply,
    GalleryReply,
    ImagePage,
    ImportReply,
    Match,
    MigrationReply,
    ModelReply,
    PlanReply,
    QueryReply,
    ReloadReply,
    SearchReply,
    StatusReply,
    StoredImage,
    TrailReply,
    to_pandas,
)

__all__ = [
    "DEFAULT_URL", "AddedImage", "AddedImages", "AsyncVehicleSearch", "AuditPage", "BadRequest", "BatchReply",
    "BatchSize", "Busy", "Camera", "CamerasReply", "Conflict", "Crop", "DiskFull", "Embedding", "EmbeddingsReply",
    "FacetsReply", "Fault", "FeedbackPage", "FeedbackReply", "Forbidden", "GalleryReply", "ImagePage", "ImportReply",
    "InvalidRequest", "Match", "MigrationReply", "ModelReply", "NewImage", "NotFound", "Patience", "Picture",
    "PlanReply", "Problem", "QueryReply", "Refused", "ReloadReply", "SearchReply", "StatusReply", "StoredImage",
    "TimedOut", "TooLarge", "TrailReply", "Unauthorized", "Unavailable", "UnexpectedAnswer", "Unreachable",
    "UnsupportedType", "UnusableInput", "VehicleSearch", "VehicleSearchError", "to_pandas",
]  # fmt: skip
