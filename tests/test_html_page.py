"""A page holds all it shows, and text stays text."""

import base64
import io

from PIL import Image

from index.html_page import html_page, inline_jpeg


def test_text_is_escaped_and_html_and_css_are_not() -> None:
    page = html_page("a < b", "c & d", "<p>body</p>", width=700, style="p { margin: 0; }")
    assert page.count("a &lt; b") == 2  # in the tab and as the heading
    assert '<p class="faint">c &amp; d</p>' in page
    assert "<p>body</p>" in page
    assert "max-width: 700px" in page
    assert "p { margin: 0; }\n</style>" in page


def test_a_picture_is_in_its_address() -> None:
    head, _, data = inline_jpeg(Image.new("RGB", (6, 4))).partition(",")
    assert head == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (picture.format, picture.size) == ("JPEG", (6, 4))
