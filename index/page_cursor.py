"""The opaque cursor of a listing: the last image_id of a page, signed so that only its own gallery takes it."""

import base64
import binascii
import hashlib
import hmac

from index.errors import InvalidValue

_SIGNATURE = 8  # bytes


def write_cursor(image_id: str, secret: bytes) -> str:
    """A cursor, of letters that need no escaping in a URL."""
    text = image_id.encode()
    return base64.urlsafe_b64encode(_signature(text, secret) + text).decode().rstrip("=")


def read_cursor(cursor: str, secret: bytes) -> str:
    """The image_id in a cursor; raises InvalidValue for one that ``write_cursor`` did not give with this secret."""
    try:
        signed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        signed = b""
    signature, text = signed[:_SIGNATURE], signed[_SIGNATURE:]
    if not hmac.compare_digest(signature, _signature(text, secret)):
        raise InvalidValue(f"{cursor[:60]!a} is not a cursor that this gallery gave", pointer="/query/cursor")
    return text.decode()


def _signature(text: bytes, secret: bytes) -> bytes:
    return hashlib.blake2b(text, key=secret, digest_size=_SIGNATURE).digest()
