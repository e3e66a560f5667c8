"""Messages as different callers see them: where on the machine something lies is an admin's business."""

import re
from pathlib import Path


def shown(text: str, folder: Path, *, admin: bool) -> str:
    """A message; for whoever is no admin its paths begin below the data folder, and do not tell where that is."""
    if admin:
        return text
    named = sorted({str(folder.resolve()), str(folder.absolute()), str(folder)} - {"."}, key=len, reverse=True)
    return re.sub(rf"(?<![\w/.-])(?:{'|'.join(map(re.escape, named))})/", "", text)
