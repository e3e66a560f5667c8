"""Secrets that settings name by file, so that no list of processes and no environment shows them."""

from pathlib import Path

from index.errors import InvalidValue


def read_secret(file: Path, *, setting: str) -> str:
    """What a file holds, without the white space around it; ``setting`` names it in what InvalidValue says."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        if ":" in str(file) or "@" in str(file):  # a URL or USER:PASSWORD: nothing that should be shown
            raise InvalidValue(f"setting {setting} names a file that holds the secret, and is not the secret") from None
        raise InvalidValue(f"setting {setting} = {str(file)!r}: it cannot be read: {reason}") from error
