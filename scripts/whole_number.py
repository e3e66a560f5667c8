"""An option of the scripts that counts something."""

import argparse


def from_one(text: str) -> int:
    """A whole number from 1 on; argparse.ArgumentTypeError for everything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)
