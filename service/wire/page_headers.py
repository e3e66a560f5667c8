"""What a browser may do for a page of ours: a policy, and the headers that every page comes with."""

from collections.abc import Mapping
from typing import Final

_ALWAYS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
}  # fmt: skip


def page_headers(*, scripts: str, styles: str, images: str, more: str = "") -> dict[str, str]:
    """Headers of a page that takes scripts, styles and pictures from these sources, calls us, and may do nothing else.

    ``more`` is a further directive of the Content-Security-Policy.
    """
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src {images}; connect-src 'self'; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors 'none'{f'; {more}' if more else ''}"
    )
    return {"Content-Security-Policy": policy, **_ALWAYS}
