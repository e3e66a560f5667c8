"""Whatever is sent, the readers of it give an answer or an error of the house's tree: never another one, never a hang.

Input is drawn; `make test-deep` draws a hundred times as much.
"""

import asyncio
import json
import resource
import shutil
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.requests import Request

from index.bulk.import_plan import ImportPlan
from index.bulk.import_source import plan_sources
from index.crops import read_picture, stored_crop, stored_size
from index.errors import InvalidValue, LogDamaged, PictureError, VehicleSearchError
from index.gallery import Metadata
from index.metadata import check_metadata, merge_metadata
from index.storage.key_database import KeyDatabase
from index.storage.write_ahead_log import fold_log, log_of, log_problem, read_frames, require_whole_log
from service.access.audit_log import SUFFIX
from service.access.audit_pages import AuditFilter, read_page
from service.access.caller import Callers
from service.access.keyring import Keyring
from service.answering.uploads import Limits, Upload, read_archive, read_upload
from service.settings import Settings
from service.watching.metrics import Metrics
from service.wire.documents import read_json
from service.wire.inference_protocol import Asked, read_inference
from service.wire.parameters import (
    ATTRIBUTE,
    BOX,
    COMBINE,
    PAGE,
    SEARCH,
    SELECTED,
    filters_of,
    read_parameters,
    search_options_of,
)
from service.wire.problems import MalformedRequest, Unauthenticated, problem_of
from tests.archives import KINDS, pack
from tests.drawn_bytes import EDITS, damaged, edited, examples
from tests.key_holder import a_key
from tests.pictures import encoded, jpeg, photograph, png, png_header
from tests.test_write_ahead_log import PAGE as DATABASE_PAGE
from tests.test_write_ahead_log import commits, killed, numbers

pytestmark = pytest.mark.fuzz

MAX_PIXELS = 20_000
MEMORY = 256 << 20  # bytes that the readers of pictures of so many pixels may take at most


def told(error: VehicleSearchError) -> tuple[type[Exception], str]:
    """What a client is told; it can be written as JSON whatever was sent."""
    json.dumps(problem_of(error)).encode("ascii")
    return type(error), str(error)


# Pictures


def animated(kind: str) -> bytes:
    frames = [photograph(number, (30, 20)) for number in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


PICTURES = [
    jpeg(0), png(1), encoded(photograph(2), "JPEG", progressive=True), encoded(photograph(3).convert("L"), "JPEG"),
    encoded(photograph(4).convert("CMYK"), "JPEG"), encoded(photograph(5).convert("P"), "PNG", transparency=3),
    encoded(photograph(6).convert("RGBA"), "PNG"), encoded(Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30)), "PNG"),
    encoded(photograph(7), "WEBP"), encoded(photograph(8), "WEBP", lossless=True), encoded(photograph(9), "BMP"),
    encoded(photograph(10).convert("1"), "BMP"), encoded(photograph(11), "GIF"), animated("GIF"), animated("WEBP"),
    encoded(photograph(12), "MPO", save_all=True, append_images=[photograph(13)]), png_header(60_000, 60_000),
]  # fmt: skip


@examples(300)
@given(
    data=damaged(st.sampled_from(PICTURES)) | st.binary(max_size=60),
    box=st.none() | st.tuples(*[st.integers(-1, 99)] * 4),
)
def test_pictures(data: bytes, box: tuple[int, int, int, int] | None) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        size = stored_size(data, max_pixels=MAX_PIXELS)
        image = read_picture(data, max_pixels=MAX_PIXELS)
    except PictureError as error:
        told(error)
    else:
        assert image.mode == "RGB"
        assert sorted(image.size) == sorted(size)
        assert image.width * image.height <= MAX_PIXELS
    try:
        stored = stored_crop(data, box=box, max_pixels=MAX_PIXELS)
    except PictureError as error:
        told(error)
    else:
        again = read_picture(stored.data, max_pixels=MAX_PIXELS)
        assert again.tobytes() == stored.image.tobytes()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < MEMORY


# Metadata, merge patches, JSON


FIELDS = ("image_id", "vehicle_id", "camera_id", "captured_at", "attributes", "box", "viewpoint")
TEXTS = st.text(st.characters(), max_size=8) | st.sampled_from(["c001", "2026-05-04T10:11:12Z", "", "\ud800", "\0"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=4))
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "vehicle_id": st.none() | st.text("av1 ü", min_size=1, max_size=9), "camera_id": st.none() | st.just("c001"),
    "captured_at": st.none() | st.datetimes(min_value=datetime(1, 1, 3)).map(lambda time: f"{time.isoformat()[:19]}Z"),
    "attributes": st.dictionaries(st.text("abc", min_size=1, max_size=2), st.none() | st.integers(-9, 9) | st.text("xy", max_size=3), max_size=4),
}  # fmt: skip
PATCHES = st.fixed_dictionaries({}, optional=GOOD)


@examples(300)
@given(document=st.dictionaries(st.sampled_from(FIELDS) | TEXTS, VALUES, max_size=6) | VALUES, patch=PATCHES)
def test_metadata(document: Any, patch: dict[str, Any]) -> None:
    try:
        metadata = check_metadata(document, pointer="/metadata").metadata
    except InvalidValue as error:
        told(error)
        metadata = Metadata()
    try:
        merge_metadata(metadata, document)
    except InvalidValue as error:
        told(error)
    merged = merge_metadata(metadata, patch)
    assert merge_metadata(merged, patch) == merged  # a second time it changes nothing


def merged_plainly(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2, as it stands there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged_plainly(result.get(name), value)
    return result


@examples(200)
@given(patches=st.lists(PATCHES, max_size=4))
def test_merge_patches_are_those_of_the_rfc(patches: list[dict[str, Any]]) -> None:
    document: Any = {}
    metadata = Metadata()
    for patch in patches:
        document, metadata = merged_plainly(document, patch), merge_metadata(metadata, patch)
    assert check_metadata(document).metadata == metadata


@examples(300)
@given(data=damaged(VALUES.map(lambda value: json.dumps(value).encode())) | st.binary(max_size=30), short=st.booleans())
def test_json(data: bytes, short: bool) -> None:
    try:
        document = read_json(data, what="the body", short=short)
    except (MalformedRequest, InvalidValue) as error:
        told(error)
    else:
        assert json.dumps(document, allow_nan=True)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 1_000_000, b'"\\ud800"', b"[1e999999]"])
def test_json_that_is_meant_to_hurt(data: bytes) -> None:
    try:
        read_json(data, what="the body")
    except MalformedRequest as error:
        told(error)


# Multipart bodies


PARTS = st.lists(st.tuples(st.sampled_from(["image", "image", "metadata"]), st.binary(max_size=80)), max_size=4)
BOUNDARY = "frontier"


def form_of(parts: list[tuple[str, bytes]]) -> bytes:
    head = '--{}\r\nContent-Disposition: form-data; name="{}"; filename="x"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = b"".join(head.format(BOUNDARY, name).encode() + data + b"\r\n" for name, data in parts)
    return body + f"--{BOUNDARY}--\r\n".encode()


def _request(left: list[bytes]) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": left.pop(0) if left else b"", "more_body": bool(left)}

    kind = f"multipart/form-data; boundary={BOUNDARY}".encode()
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [(b"content-type", kind)]}
    return Request(scope, receive)


def read_in(chunks: list[bytes]) -> Upload | tuple[type[Exception], str]:
    """What ``read_upload`` makes of a body that comes in these pieces, or what it tells."""
    limits = Limits(max_bytes=1000, max_seconds=60, max_images=3, images_setting="max_images = 3")
    try:
        upload = asyncio.run(read_upload(_request([*chunks]), limits, metadata=True))
    except VehicleSearchError as error:
        return told(error)
    upload.complete = 0.0
    return upload


def archive_in(chunks: list[bytes], file: Path) -> bytes | tuple[type[Exception], str]:
    """As ``read_in``, of ``read_archive``."""
    try:
        asyncio.run(read_archive(_request([*chunks]), Settings(max_import_bytes=2000), file))
    except VehicleSearchError as error:
        return told(error)
    return file.read_bytes()


def cut_at(body: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    return [body[start:end] for start, end in pairwise(places)]


@examples(200)
@given(body=damaged(PARTS.map(form_of)) | st.binary(max_size=60), cuts=st.lists(st.integers(0, 500), max_size=12))
def test_a_body_is_the_same_in_whatever_pieces_it_comes(body: bytes, cuts: list[int]) -> None:
    whole = read_in([body])
    assert read_in(cut_at(body, cuts)) == whole
    if len(body) < 300:
        assert read_in([body[at : at + 1] for at in range(len(body))]) == whole


@examples(60)
@given(
    body=damaged(PARTS.map(form_of).map(lambda body: body.replace(b'"image"', b'"archive"'))),
    cuts=st.lists(st.integers(0, 500), max_size=12),
)
def test_an_archive_is_the_same_in_whatever_pieces_it_comes(tmp_path: Path, body: bytes, cuts: list[int]) -> None:
    assert archive_in(cut_at(body, cuts), tmp_path / "pieces") == archive_in([body], tmp_path / "whole")


@examples(200)
@given(parts=PARTS.filter(lambda parts: all(f"\r\n--{BOUNDARY}".encode() not in data for _, data in parts)))
def test_parts_are_the_bytes_between_boundaries(parts: list[tuple[str, bytes]]) -> None:
    images = [data for name, data in parts if name == "image"]
    others = [data for name, data in parts if name == "metadata"]
    found = read_in([form_of(parts)])
    if 1 <= len(images) <= 3 and len(others) <= 1:
        assert found == Upload(images=images, metadata=others[0] if others else None)
    else:
        assert isinstance(found, tuple)


# Query strings, cursors


KNOWN = {one.name: one for one in (BOX, COMBINE, *SEARCH, *PAGE, *SELECTED)}
WORDS = st.sampled_from(["1", "10", "rear", "c001", "2026-05-04T10:11:12Z", "2026-05-04T10:11:12 02:00", "1,2,3,4", "mean", "true", '"1"', "1e400", "-0"])  # fmt: skip
PAIRS = st.lists(st.tuples(st.sampled_from([*KNOWN, f"{ATTRIBUTE}lane", ATTRIBUTE]) | TEXTS, WORDS | TEXTS), max_size=5)


def query_of(pairs: list[tuple[str, str]]) -> bytes:
    return "&".join(f"{name}={value}" for name, value in pairs).encode("utf-8", "surrogatepass")


@examples(300)
@given(query=PAIRS.map(query_of) | damaged(PAIRS.map(query_of)) | st.binary(max_size=40))
def test_query_strings(query: bytes) -> None:
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": query})
    for known in ((BOX, COMBINE, *SEARCH), PAGE, SELECTED):
        try:
            values = read_parameters(request, known, attributes=True)
            filters_of(values, ("front", "rear", "side"))
            search_options_of(values, ("front", "rear", "side"))
        except InvalidValue as error:
            told(error)


@pytest.fixture(scope="module")
def audit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    for day in (1, 2, 3):
        lines = [{"time": f"2026-05-0{day}T00:00:{second:02}Z", "action": "search"} for second in range(9)]
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (folder / f"2026050{day}T000000000000Z{SUFFIX}").write_text(text + '{"cut off')
    return folder


CURSORS = st.from_regex(r"\A[0-9]{8}T[0-9]{12}Z-[0-9]{1,15}\Z") | st.sampled_from(
    ["20260502T000000000000Z-0", "20260502T000000000000Z-100", "99999999T999999999999Z-999999999999999"]
)


@examples(200)
@given(cursor=CURSORS | TEXTS, limit=st.integers(1, 20))
def test_cursors_of_the_audit_log(audit_folder: Path, cursor: str, limit: int) -> None:
    try:
        page = read_page(audit_folder, AuditFilter(), limit=limit, cursor=cursor)
    except InvalidValue as error:
        told(error)
    else:
        assert len(page.entries) <= limit
        assert all(entry["action"] == "search" for entry in page.entries)


# Keys


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Callers, str]:
    database = KeyDatabase(tmp_path_factory.mktemp("keys"))
    key, token = a_key("read")
    database.add(key)
    return Callers(Keyring(database), Metrics()), token


@examples(300)
@given(edits=st.none() | EDITS, more=st.lists(st.text(st.characters(max_codepoint=255), max_size=30), max_size=1))
def test_authorization_headers(callers: tuple[Callers, str], edits: Any, more: list[str]) -> None:
    known, token = callers
    whole = f"Bearer {token}".encode()
    fields = [*more, *([] if edits is None else [edited(whole, edits, whole[::-1]).decode("latin-1")])]
    try:
        caller = known.caller(fields)
    except Unauthenticated as error:
        told(error)
    else:
        (field,) = fields
        assert field[:7].lower() == "bearer "
        assert field[7:].strip(" ") == token
        assert caller.key is not None


# Tensors


ASKED = Asked(size=(4, 5), most=3, setting="max_queries = 3", outputs=["embedding", "viewpoint"], usual=["embedding"])
TENSORS = st.integers(1, 3).flatmap(
    lambda count: st.binary(min_size=count * 60, max_size=count * 60).map(lambda data: np.frombuffer(data, np.uint8).reshape(count, 4, 5, 3))
)  # fmt: skip


def binary_of(crops: Any) -> tuple[bytes, bytes]:
    """A request's JSON and the bytes behind it."""
    tensor = {"name": "crops", "datatype": "UINT8", "shape": list(crops.shape)}
    return json.dumps(
        {"inputs": [{**tensor, "parameters": {"binary_data_size": crops.size}}]}
    ).encode(), crops.tobytes()


@examples(100)
@given(crops=TENSORS, nested=st.booleans())
def test_a_tensor_is_the_same_as_json_and_as_bytes(crops: Any, nested: bool) -> None:
    head, behind = binary_of(crops)
    tensor = {"name": "crops", "datatype": "UINT8", "shape": list(crops.shape)}
    numbers = (crops if nested else crops.ravel()).tolist()
    plain = json.dumps({"inputs": [{**tensor, "data": numbers}]}).encode()
    np.testing.assert_array_equal(read_inference(head + behind, str(len(head)), ASKED).crops, crops)
    np.testing.assert_array_equal(read_inference(plain, None, ASKED).crops, crops)


@examples(300)
@given(
    body=damaged(TENSORS.map(lambda crops: b"".join(binary_of(crops)))),
    length=st.none() | st.integers(0, 300).map(str) | TEXTS,
)
def test_requests_of_the_inference_protocol(body: bytes, length: str | None) -> None:
    try:
        inference = read_inference(body, length, ASKED)
    except VehicleSearchError as error:
        told(error)
    else:
        assert inference.crops.shape[1:] == (4, 5, 3)


INPUTS = st.fixed_dictionaries(
    {"name": st.just("crops"), "datatype": st.just("UINT8"), "shape": st.just([1, 4, 5, 3]) | VALUES},
    optional={"data": VALUES, "parameters": VALUES, "extra": VALUES},
)


@examples(200)
@given(inputs=st.lists(INPUTS, max_size=2) | VALUES, outputs=VALUES, parameters=VALUES)
def test_documents_of_the_inference_protocol(inputs: Any, outputs: Any, parameters: Any) -> None:
    body = json.dumps({"inputs": inputs, "outputs": outputs, "parameters": parameters}).encode()
    try:
        read_inference(body, None, ASKED)
    except VehicleSearchError as error:
        told(error)


# Imports


def manifest_of(rows: list[tuple[str, ...]]) -> bytes:
    lines = ["path,vehicle_id,camera_id,image_id,captured_at,box,lane", *(",".join(row) for row in rows)]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


CELLS = (
    st.sampled_from(
        ["a.jpg", "b/c.png", "../x.jpg", "/etc/passwd", "", "v1", "2026-05-04T10:11:12Z", '"1,2,3,4"', '"', "3"]
    )
    | TEXTS
)
MANIFESTS = st.lists(st.tuples(*[CELLS] * 7), max_size=5).map(manifest_of)
ARCHIVED = {
    "a.jpg": jpeg(0, (20, 16)),
    "b/c.png": png(1, (20, 16)),
    "manifest.csv": manifest_of([("a.jpg", *[""] * 6)]),
}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("archives")
    return [pack(folder / f"x{kind}", ARCHIVED) for kind in KINDS]


def planned(source: Path, folder: Path) -> int | None:
    """How many rows a source has; None where it is refused."""
    file = folder / "plan"
    file.unlink(missing_ok=True)
    plan = ImportPlan(file)
    try:
        *_, total = plan_sources(plan, [source])
        return total
    except VehicleSearchError as error:
        told(error)
        return None
    finally:
        plan.close()


@examples(60)
@given(text=MANIFESTS | damaged(MANIFESTS) | st.binary(max_size=60))
def test_manifests(tmp_path: Path, text: bytes) -> None:
    folder = tmp_path / "source"
    folder.mkdir(exist_ok=True)
    (folder / "a.jpg").write_bytes(ARCHIVED["a.jpg"])
    (folder / "manifest.csv").write_bytes(text)
    planned(folder, tmp_path)


@examples(60)
@given(number=st.integers(0, len(KINDS) - 1), edits=EDITS)
def test_archives(tmp_path: Path, archives: list[Path], number: int, edits: Any) -> None:
    whole = archives[number].read_bytes()
    source = tmp_path / archives[number].name
    source.write_bytes(edited(whole, edits, archives[number - 1].read_bytes()))
    planned(source, tmp_path)
    source.write_bytes(whole)
    assert planned(source, tmp_path) == 1


# Logs of databases


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[int]]:
    """A database whose owner was killed, its log, and the last frames of the commits in that."""
    file = killed(tmp_path_factory.mktemp("logged"))
    whole = file.with_name("whole")
    shutil.copy(log_of(file), whole)
    return file, whole, commits(file)


@examples(200)
@given(edits=EDITS)
def test_write_ahead_logs(logged: tuple[Path, Path, list[int]], edits: Any) -> None:
    file, whole, ends = logged
    log_of(file).write_bytes(edited(whole.read_bytes(), edits, whole.read_bytes()[32:]))
    frames = read_frames(log_of(file), page=DATABASE_PAGE)
    if frames is not None:
        assert 0 <= frames.seen <= len(frames.pages)
        assert 0 <= frames.end <= len(frames.pages)
    try:
        require_whole_log(file, page=DATABASE_PAGE)
    except LogDamaged:
        assert frames is not None
        assert frames.hidden
    else:
        assert frames is None or not frames.hidden
    seen = 0 if frames is None else frames.seen
    assert numbers(file) == [number for number, end in enumerate(ends, 1) if end < seen]  # as SQLite sees it
    log_problem(file, page=DATABASE_PAGE)
    fold_log(file, file.with_name("folded.sqlite"), page=DATABASE_PAGE)
    assert file.with_name("folded.sqlite").stat().st_size % DATABASE_PAGE == 0
