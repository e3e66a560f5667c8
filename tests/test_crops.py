"""Reading, cutting, resizing and storing pictures."""

import io
import itertools
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from index.contract import Resize
from index.crops import Box, content_name, cut, model_crop, read_picture, small_jpeg, stored_crop, stored_picture
from index.errors import BoxOutsidePicture, PictureError, PictureTooLarge, UndecodablePicture, UnsupportedPicture

LIMIT = 1_000_000


def photograph(width: int = 101, height: int = 67, seed: int = 0) -> Image.Image:
    """Smooth colours with some detail, so that every way to code them has something to lose."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int, description: bytes = b"") -> Image.Exif:
    block = Image.Exif()
    block[0x010E] = description
    block[0x0112] = orientation
    return block


def png(width: int, height: int, bits: int, colour_type: int, rows: bytes, **chunks: bytes) -> bytes:
    """A PNG written by hand; ``rows`` with their filter bytes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    extra = b"".join(chunk(name.encode(), body) for name, body in chunks.items())
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    assert image.mode == "RGB"
    return np.asarray(image)


def by_pillow(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def jpegs() -> dict[str, bytes]:
    variants = {}
    for mode, progressive, subsampling, restart in itertools.product(
        ("RGB", "L"), (False, True), ("4:4:4", "4:2:2", "4:2:0", "4:1:1"), (0, 3)
    ):
        options: dict[str, Any] = {"progressive": progressive, "restart_marker_blocks": restart}
        if mode == "RGB":
            options["subsampling"] = subsampling
        variants[f"{mode}-{progressive}-{subsampling}-{restart}"] = encoded(
            photograph().convert(mode), "JPEG", comment=b"secret", icc_profile=b"secret" * 500, **options
        )
    variants["without colour transform"] = encoded(photograph(), "JPEG", keep_rgb=True, comment=b"secret")
    variants["CMYK"] = encoded(photograph().convert("CMYK"), "JPEG", comment=b"secret")
    variants["MPO"] = encoded(photograph(), "MPO", save_all=True, append_images=[photograph(seed=1)])
    variants["bytes behind the end"] = encoded(photograph(), "JPEG") + b"secret" * 100
    for orientation in range(1, 9):
        variants[f"orientation {orientation}"] = encoded(
            photograph(), "JPEG", exif=exif(orientation), comment=b"secret"
        )
    return variants


def others() -> dict[str, bytes]:
    variants = {"webp": encoded(photograph(), "WEBP", exif=exif(1, b"secret"), icc_profile=b"secret")}
    for kind, mode in itertools.product(("PNG", "GIF", "BMP"), ("RGB", "L", "P", "1")):
        variants[f"{kind}-{mode}"] = encoded(photograph().convert(mode), kind)
    for orientation in range(1, 9):
        variants[f"png {orientation}"] = encoded(photograph(), "PNG", exif=exif(orientation))
        variants[f"webp {orientation}"] = encoded(photograph(), "WEBP", exif=exif(orientation))
    frames = [photograph(seed=seed) for seed in (1, 2)]
    variants["animated GIF"] = encoded(photograph(), "GIF", save_all=True, append_images=frames)
    variants["animated PNG"] = encoded(photograph(), "PNG", save_all=True, append_images=frames)
    variants["animated WebP"] = encoded(photograph(), "WEBP", save_all=True, append_images=frames)
    return variants


PICTURES = {**jpegs(), **others()}


@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES.keys())
def test_pictures_are_read_as_pillow_reads_them_upright(data: bytes) -> None:
    np.testing.assert_array_equal(pixels(read_picture(data, max_pixels=LIMIT)), by_pillow(data))


@pytest.mark.parametrize("box", [None, (0, 0, 1, 1), (3, 5, 20, 30)])
@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES.keys())
def test_the_stored_crop_decodes_to_the_pixels_of_the_query(data: bytes, box: Box | None) -> None:
    query = read_picture(data, max_pixels=LIMIT)
    query = query if box is None else cut(query, box)

    crop = stored_crop(data, box=box, max_pixels=LIMIT)

    np.testing.assert_array_equal(pixels(crop.image), pixels(query))
    np.testing.assert_array_equal(pixels(read_picture(crop.data, max_pixels=LIMIT)), pixels(query))
    np.testing.assert_array_equal(by_pillow(crop.data), pixels(query))
    assert b"secret" not in crop.data
    with Image.open(io.BytesIO(crop.data)) as image:
        assert Image.MIME[str(image.format)] == crop.media_type
        assert not image.getexif()
        assert all(str(key).startswith(("jfif", "adobe", "progressi")) for key in image.info)


def test_an_upright_jpeg_keeps_its_coded_data_and_storing_it_again_changes_nothing() -> None:
    data = encoded(photograph(), "JPEG", exif=exif(1), comment=b"secret")
    crop = stored_crop(data, box=(0, 0, 101, 67), max_pixels=LIMIT)
    assert crop.media_type == "image/jpeg"
    assert crop.data == encoded(photograph(), "JPEG")  # nothing but the description is gone
    assert stored_crop(crop.data, box=None, max_pixels=LIMIT).data == crop.data


@pytest.mark.parametrize("name", ["CMYK", "orientation 6"])
def test_other_jpegs_become_png(name: str) -> None:
    assert stored_crop(PICTURES[name], box=None, max_pixels=LIMIT).media_type == "image/png"


@pytest.mark.parametrize(
    "name", ["RGB-False-4:2:0-0", "RGB-True-4:2:0-3", "PNG-RGB", "GIF-P", "BMP-RGB", "webp", "PNG-P"]
)
def test_every_truncation_is_refused(name: str) -> None:
    data = PICTURES[name]
    for length in {*range(40), *range(0, len(data) - 1, max(1, len(data) // 100))}:
        with pytest.raises(UndecodablePicture):
            read_picture(data[:length], max_pixels=LIMIT)


@settings(deadline=None, max_examples=150)
@given(name=st.sampled_from(sorted(PICTURES)), place=st.floats(0, 1, exclude_max=True), junk=st.binary(max_size=12))
def test_damage_ends_in_pixels_or_in_an_error_of_ours(name: str, place: float, junk: bytes) -> None:
    data = bytearray(PICTURES[name])
    position = int(place * len(data))
    data[position : position + len(junk)] = junk
    try:
        crop = stored_crop(bytes(data), box=None, max_pixels=LIMIT)
    except PictureError:
        return
    np.testing.assert_array_equal(pixels(read_picture(crop.data, max_pixels=LIMIT)), pixels(crop.image))


@settings(deadline=None, max_examples=100)
@given(
    start=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x40\0\0\0WEBPVP8X", b"BM"]),
    rest=st.binary(max_size=80),
)
def test_noise_ends_in_an_error_of_ours(start: bytes, rest: bytes) -> None:
    with pytest.raises((UndecodablePicture, UnsupportedPicture, PictureTooLarge)):
        read_picture(start + rest, max_pixels=LIMIT)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"hello", "text"),
        ("Straße".encode(), "text"),
        (b"BMW builds cars in Bavaria", "text"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><svg/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (encoded(photograph(), "TIFF"), "TIFF"),
        (b"\0" * 100, "unknown"),
    ],
)
def test_other_bytes_are_named_and_so_is_what_is_read(data: bytes, what: str) -> None:
    with pytest.raises(UnsupportedPicture, match=f"{what}.*JPEG.*PNG.*WebP.*BMP.*GIF"):
        read_picture(data, max_pixels=LIMIT)


def test_no_bytes_are_an_empty_picture() -> None:
    with pytest.raises(UndecodablePicture, match="empty"):
        read_picture(b"", max_pixels=LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_the_limit_names_pixels_and_limit(kind: str) -> None:
    data = encoded(photograph(), kind)
    with pytest.raises(PictureTooLarge, match=r"101 × 67 = 6,767 pixels; the limit is 6,766"):
        read_picture(data, max_pixels=6766)
    assert read_picture(data, max_pixels=6767).size == (101, 67)


def bomb(kind: str) -> bytes:
    """A few bytes whose header says 60,000 × 60,000 (WebP: 16,000 × 16,000)."""
    if kind == "PNG":
        return png(60_000, 60_000, 8, 2, b"\0" * 1000)
    data = bytearray(encoded(photograph(), kind))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", 60_000, 60_000)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", 60_000, 60_000)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", 60_000, -60_000)
    else:
        data[26:30] = struct.pack("<HH", 16_000, 16_000)
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_a_decompression_bomb_is_refused_by_its_header(kind: str) -> None:
    with pytest.raises(PictureTooLarge):
        read_picture(bomb(kind), max_pixels=100_000_000)


def test_a_side_has_a_limit_of_its_own() -> None:
    with pytest.raises(PictureTooLarge, match="no side may exceed 65,535"):
        read_picture(png(70_000, 1, 1, 0, b"\0" * 8751), max_pixels=LIMIT)


def test_a_large_picture_within_the_limit_is_read_whatever_pillow_thinks_of_it() -> None:
    data = png(
        20_000, 10_000, 1, 0, (b"\0" + b"\xff" * 2500) * 10_000
    )  # Pillow's own limit would refuse 200 megapixels
    with pytest.raises(PictureTooLarge):
        read_picture(data, max_pixels=LIMIT)
    assert read_picture(data, max_pixels=200_000_000).size == (20_000, 10_000)


def test_hostile_text_and_exif_are_never_looked_at() -> None:
    text = b"Comment\0\0" + zlib.compress(b"\0" * 100_000_000)
    row = b"\0" + bytes(range(6))
    data = png(2, 1, 8, 2, row, zTXt=text, iCCP=text, acTL=b"x", eXIf=b"MM\0*\xff\xff\xff\xff")
    assert pixels(read_picture(data, max_pixels=LIMIT)).tolist() == [[[0, 1, 2], [3, 4, 5]]]


def test_a_jpeg_with_broken_exif_is_read_upright() -> None:
    data = encoded(
        photograph(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff" * 20
    )
    assert read_picture(data, max_pixels=LIMIT).size == (101, 67)


def test_a_jpeg_with_endless_scans_is_refused() -> None:
    data = encoded(photograph(), "JPEG", progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(UndecodablePicture, match="scans"):
        read_picture(data[:-2] + last_scan * 100 + b"\xff\xd9", max_pixels=LIMIT)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_lies_on_mid_grey(kind: str) -> None:
    image = Image.fromarray(np.array([[[200, 0, 100, 255], [200, 0, 100, 0], [255, 255, 255, 0]]], dtype=np.uint8))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    read = pixels(read_picture(encoded(image, kind, **options), max_pixels=LIMIT))
    assert read.tolist() == [[[200, 0, 100], [128, 128, 128], [128, 128, 128]]]


def test_half_transparency_is_mixed() -> None:
    image = Image.fromarray(np.array([[[0, 128]]], dtype=np.uint8), "LA")
    assert abs(int(pixels(read_picture(encoded(image, "PNG"), max_pixels=LIMIT))[0, 0, 0]) - 64) <= 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(3, 1, 8, 0, b"\0\x05\x06\x07", tRNS=b"\0\x06"), [5, 128, 7]),
        (png(3, 1, 16, 0, b"\0\x05\x00\x06\x01\x06\x02", tRNS=b"\x06\x01"), [5, 128, 6]),
        (png(4, 1, 2, 0, b"\0\x1b", tRNS=b"\0\x01"), [0, 128, 170, 255]),
        (png(2, 1, 1, 0, b"\0\x40", tRNS=b"\0\x01"), [0, 128]),
        (png(2, 1, 8, 2, b"\0\x07\x07\x07\x09\x09\x09", tRNS=b"\0\x07\0\x07\0\x07"), [128, 9]),
        (png(2, 1, 8, 3, b"\0\x00\x01", PLTE=b"\x07\x07\x07\x09\x09\x09", tRNS=b"\0"), [128, 9]),
        (png(2, 1, 8, 3, b"\0\x00\x01", PLTE=b"\0\0\0\x09\x09\x09", tRNS=b"\x80\xff"), [64, 9]),
        (png(2, 1, 16, 2, b"\0" + b"\x07\x01" * 3 + b"\x09\x02" * 3), [7, 9]),
        (png(1, 1, 16, 4, b"\0\x07\x01\0\0"), [128]),
    ],
)
def test_png_transparency_and_16_bits(data: bytes, expected: list[int]) -> None:
    read = pixels(read_picture(data, max_pixels=LIMIT))
    assert np.abs(read[0].astype(int) - np.array(expected)[:, None]).max() <= 1


def test_a_gif_with_a_transparent_colour_and_a_small_frame() -> None:
    image = Image.new("P", (4, 2), 1)
    image.putpalette([0, 0, 0, 250, 10, 10])
    image.putpixel((0, 0), 0)
    read = pixels(read_picture(encoded(image, "GIF", transparency=1), max_pixels=LIMIT))
    assert read[0, 0].tolist() == [0, 0, 0]
    assert read[1, 3].tolist() == [128, 128, 128]


def test_a_32_bit_bmp_whose_fourth_byte_is_unset_is_opaque() -> None:
    data = bytearray(encoded(Image.new("RGBA", (2, 2), (10, 20, 30, 0)), "BMP"))
    assert pixels(read_picture(bytes(data), max_pixels=LIMIT))[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 0, 5), (0, 0, 102, 5), (100, 66, 2, 1), (0, 0, 1, 10**30)])
def test_a_box_outside_names_box_and_size(box: Box) -> None:
    with pytest.raises(BoxOutsidePicture, match=rf"\[{box[0]}, .*101 × 67"):
        stored_crop(encoded(photograph(), "PNG"), box=box, max_pixels=LIMIT)


def test_the_box_counts_in_upright_pixels() -> None:
    data = encoded(photograph(), "JPEG", exif=exif(6))
    upright = read_picture(data, max_pixels=LIMIT)
    assert upright.size == (67, 101)
    np.testing.assert_array_equal(
        pixels(stored_crop(data, box=(0, 90, 67, 11), max_pixels=LIMIT).image), pixels(upright)[90:]
    )


STRETCH = Resize(size=(16, 24), crop=(16, 24))


def test_model_crop_is_pillows_antialiased_resize() -> None:
    image = photograph()
    expected = np.asarray(image.resize((24, 16), Image.Resampling.BILINEAR))
    crop = model_crop(image, STRETCH)
    assert crop.dtype == np.uint8
    assert crop.flags.c_contiguous
    np.testing.assert_array_equal(crop, expected)


def test_model_crop_keeps_the_centre() -> None:
    image = photograph()
    whole = model_crop(image, Resize(size=(16, 24), crop=(16, 24), filter="bicubic"))
    centre = model_crop(image, Resize(size=(16, 24), crop=(10, 10), filter="bicubic"))
    np.testing.assert_array_equal(centre, whole[3:13, 7:17])


def test_model_crop_pads_with_mid_grey_around_the_centre() -> None:
    crop = model_crop(Image.new("RGB", (40, 10), (255, 0, 0)), Resize(size=(20, 20), crop=(20, 20), aspect="pad"))
    rows = [row[0].tolist() for row in crop]
    assert rows == [[128] * 3] * 7 + [[255, 0, 0]] * 5 + [[128] * 3] * 8


@pytest.mark.parametrize("aspect", ["stretch", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (10_000, 1), (1, 10_000), (65_535, 2)])
def test_model_crop_of_tiny_and_very_long_pictures(size: tuple[int, int], aspect: Any) -> None:
    crop = model_crop(Image.new("RGB", size, (255, 0, 0)), Resize(size=(16, 24), crop=(16, 24), aspect=aspect))
    assert crop.shape == (16, 24, 3)
    assert (crop == (255, 0, 0)).all(axis=2).any()


def test_the_content_name_is_the_hash_and_the_kind() -> None:
    names = {content_name(encoded(photograph(), kind)) for kind in ("JPEG", "PNG")}
    assert {name.split(".")[1] for name in names} == {"jpg", "png"}
    assert all(len(name.split(".")[0]) == 64 for name in names)
    with pytest.raises(ValueError, match="JPEG or a PNG"):
        content_name(b"GIF89a")


def assert_alike(small: Image.Image, whole: Image.Image) -> None:
    """By their light: colours are coded at half the size."""
    light = (
        np.asarray(each.convert("L")).astype(int)
        for each in (small, whole.resize(small.size, Image.Resampling.LANCZOS))
    )
    assert np.abs(np.subtract(*light)).mean() < 6


def shown(data: bytes) -> Image.Image:
    assert data.startswith(b"\xff\xd8")
    return read_picture(data, max_pixels=LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize(("max_side", "size"), [(64, (64, 40)), (16, (16, 10)), (400, (320, 200)), (2048, (320, 200))])
def test_a_picture_to_look_at_is_no_larger_and_shows_the_same(kind: str, max_side: int, size: tuple[int, int]) -> None:
    data = encoded(photograph(320, 200), kind)
    small = shown(small_jpeg(data, max_side=max_side, max_pixels=LIMIT))
    assert small.size == size
    assert_alike(small, read_picture(data, max_pixels=LIMIT))


def test_a_picture_to_look_at_is_upright_and_says_nothing_more() -> None:
    data = encoded(photograph(320, 200), "JPEG", exif=exif(6, b"secret"), comment=b"secret", icc_profile=b"secret" * 9)
    for max_side, size in ((50, (31, 50)), (400, (200, 320))):
        small = small_jpeg(data, max_side=max_side, max_pixels=LIMIT)
        assert shown(small).size == size
        assert b"secret" not in small
        assert_alike(shown(small), read_picture(data, max_pixels=LIMIT))


def test_a_jpeg_that_is_small_enough_keeps_its_coded_data() -> None:
    stored = stored_crop(encoded(photograph(), "JPEG"), box=None, max_pixels=LIMIT).data
    assert small_jpeg(stored, max_side=101, max_pixels=LIMIT) == stored
    assert small_jpeg(stored, max_side=100, max_pixels=LIMIT) != stored


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_jpeg_of_other_colours_can_be_looked_at(mode: str) -> None:
    assert shown(small_jpeg(encoded(photograph().convert(mode), "JPEG"), max_side=32, max_pixels=LIMIT)).size == (
        32,
        21,
    )


def test_a_large_jpeg_is_not_decoded_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[int, int]] = []
    load = Image.Image.thumbnail

    def noted(self: Image.Image, *args: Any, **options: Any) -> None:
        decoded.append(self.size)
        load(self, *args, **options)

    monkeypatch.setattr(Image.Image, "thumbnail", noted)
    small_jpeg(encoded(photograph(960, 640), "JPEG"), max_side=60, max_pixels=LIMIT)
    assert decoded == [(120, 80)]


@pytest.mark.parametrize("end", [0, 20, 400])
def test_a_damaged_picture_cannot_be_looked_at(end: int) -> None:
    with pytest.raises(PictureError):
        small_jpeg(encoded(photograph(320, 200), "JPEG")[:end], max_side=64, max_pixels=LIMIT)
    with pytest.raises(PictureTooLarge):
        small_jpeg(encoded(photograph(320, 200), "JPEG"), max_side=64, max_pixels=1000)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_that_is_kept_whole_stays_one_and_says_which_way_up_it_is(orientation: int) -> None:
    sent = encoded(photograph(), "JPEG", exif=exif(orientation, b"secret"), comment=b"secret")
    kept = stored_picture(sent, max_pixels=LIMIT)
    assert kept.media_type == "image/jpeg"
    assert b"secret" not in kept.data
    assert len(kept.data) <= len(encoded(photograph(), "JPEG")) + 40
    assert np.array_equal(pixels(kept.image), pixels(read_picture(sent, max_pixels=LIMIT)))
    assert np.array_equal(pixels(read_picture(kept.data, max_pixels=LIMIT)), pixels(kept.image))
    assert np.array_equal(by_pillow(kept.data), by_pillow(sent))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF"])
def test_another_picture_that_is_kept_whole_is_stored_as_a_crop_is(kind: str) -> None:
    sent = encoded(photograph(), kind)
    assert stored_picture(sent, max_pixels=LIMIT).data == stored_crop(sent, box=None, max_pixels=LIMIT).data
