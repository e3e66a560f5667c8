"""Groups of duplicates as one HTML page to look at before anything is erased; it needs nothing else."""

from collections.abc import Sequence
from html import escape
from typing import Final

from PIL import Image

from index.duplicates.duplicate_search import Duplicate, DuplicateGroup, open_crop
from index.gallery import StoredImage
from index.html_page import html_page, inline_jpeg
from index.local_gallery import LocalGallery

_GROUPS: Final = 300  # on a page
_OTHERS: Final = 12  # of a group
_SIDE: Final = 160  # pixels
_STYLE: Final = """
section { padding: .9rem 0; display: flex; gap: .9rem; flex-wrap: wrap; }
section p { flex-basis: 100%; margin: 0; } figcaption { color: var(--faint); } .warn { color: #a13a00; }
figure { margin: 0; width: 164px; font-size: .78rem; line-height: 1.35; }
figure div { width: 160px; height: 160px; display: grid; place-items: center; background: #eceef1;
       border: 2px solid transparent; }
figure.kept div { border-color: #0072b2; } figure b { color: #1c2026; } figcaption { overflow-wrap: anywhere; }
"""


def duplicate_sheet(gallery: LocalGallery, groups: Sequence[DuplicateGroup], summary: str) -> str:
    """The page; of very many groups the first."""
    shown = groups[:_GROUPS]
    left_out = f" The first {len(shown):,} of {len(groups):,} groups." if len(shown) < len(groups) else ""
    order = " The kept picture stands first, in a blue frame." if shown else ""
    return html_page(
        f"Duplicates in gallery {gallery.name}",
        f"{summary}{left_out}{order}",
        "\n".join(_group(gallery, group) for group in shown),
        width=1180, style=_STYLE,
    )  # fmt: skip


def _group(gallery: LocalGallery, group: DuplicateGroup) -> str:
    figures = [_figure(gallery, group.kept, group.size, "kept", "kept")]
    figures += [_figure(gallery, each.image, each.size, "", _words(each)) for each in group.others[:_OTHERS]]
    notes = []
    if len(group.others) > _OTHERS:
        notes.append(f'<p class="faint">and {len(group.others) - _OTHERS:,} more</p>')
    if group.disagreement is not None:
        notes.append(f'<p class="warn">They disagree, so they are left alone: {escape(group.disagreement)}</p>')
    return f"<section>{''.join(figures)}{''.join(notes)}</section>"


def _words(duplicate: Duplicate) -> str:
    if duplicate.kind == "same":
        return "the same file"
    return f"near: distance {duplicate.distance:.2f}, alike {duplicate.likeness:.3f}"


def _figure(gallery: LocalGallery, image: StoredImage, size: tuple[int, int], kind: str, word: str) -> str:
    said = image.metadata
    time = None if said.captured_at is None else said.captured_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    known = " · ".join(each for each in (said.vehicle_id, said.camera_id) if each)
    lines = [f"{word}, {size[0]} × {size[1]}", *(each for each in (known, time) if each)]
    picture = open_crop(gallery, image.image_id)
    shown = "" if picture is None else f'<img alt="{escape(image.image_id)}" src="{_inline(picture)}">'
    return (
        f'<figure class="{kind}"><div>{shown}</div><figcaption><b>{escape(image.image_id)}</b><br>'
        f"{'<br>'.join(map(escape, lines))}</figcaption></figure>"
    )


def _inline(picture: Image.Image) -> str:
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return inline_jpeg(picture)
