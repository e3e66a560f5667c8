"""A page of HTML that needs nothing but itself: no script, no font, no file beside it."""

import base64
import io
from html import escape
from string import Template
from typing import Final

from PIL import Image

_QUALITY: Final = 85
_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light; --faint: #68707a; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2026; background: #fff; margin: 2rem auto;
       max-width: ${width}px; padding: 0 1.25rem; }
h1 { font-size: 1.45rem; margin: 0 0 .3rem; }
h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
section { border-top: 1px solid #dcdfe4; padding: 1.1rem 0; }
.faint { color: var(--faint); }
$style
</style>
<h1>$title</h1>
<p class="faint">$summary</p>
$body
</html>
""")


def html_page(title: str, summary: str, body: str, *, width: int, style: str) -> str:
    """The page: ``title`` and ``summary`` are plain text, ``body`` is HTML, ``style`` CSS beside what all pages have.

    ``width`` is the largest, in the page's own pixels.
    """
    return _PAGE.substitute(title=escape(title), summary=escape(summary), body=body, width=width, style=style.strip())


def inline_jpeg(picture: Image.Image) -> str:
    """An RGB picture as an address that holds it."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
