"""The opaque cursor of a listing: the last image_id of a page, signed so that only its own gallery takes it."""

import base64
import hashlib
import hmac

from index.errors import InvalidValue

_SIGNATURE = 8  # bytes


def write_cursor(image_id: str, secret: bytes) -> str:
    """A cursor, of letters that need no escaping in a URL."""
    text = image_id.encode()
    signature = hashlib.blake2b(text, key=secret, digest_size=_SIGNATURE).digest()
    return base64.urlsafe_b64encode(signature + text).decode().rstrip("=")


def read_cursor(cursor: str, secret: bytes) -> str:
    """The image_id in a cursor; raises InvalidValue for one that ``write_cursor`` did not give with this secret."""
    try:
        signed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        image_id = signed[_SIGNATURE:].decode()
    except ValueError:
        image_id = ""
    if not hmac.compare_digest(write_cursor(image_id, secret).encode(), cursor.encode(errors="replace")):
        raise InvalidValue(f"{cursor[:60]!a} is not a cursor that this gallery gave", pointer="/query/cursor")
    return image_id
