"""The seed that commands take, as an argparse ``type``."""

import argparse

_LARGEST = 2**63 - 1  # what NumPy and torch both take


def seed(text: str) -> int:
    """A whole number from 0 to 2**63 - 1; argparse tells anything else as one line."""
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(_LARGEST)) or int(text) > _LARGEST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 0 to {_LARGEST}")
    return int(text)
