"""Licence texts of all installed distributions as one file, on standard output, for whoever passes an image on.

Run by the Python whose packages are meant. Their order is that of their names: the same packages give the same bytes.
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

_LICENCE = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|AUTHORS|COPYRIGHT|THIRD.?PARTY)", re.IGNORECASE)
_CODE = (".py", ".pyc", ".so", ".h", ".hpp")


def texts(distribution: Distribution) -> Iterator[tuple[str, str]]:
    """Name and content of each licence file that its wheel brought."""
    for file in sorted(distribution.files or (), key=str):
        said = file.parent.name == "licenses" or _LICENCE.match(file.name)
        place = Path(str(distribution.locate_file(file)))
        if said and not file.name.endswith(_CODE) and place.is_file():
            yield str(file), place.read_text(encoding="utf-8", errors="replace").rstrip()


def licence(distribution: Distribution) -> str:
    """What it says of itself: an SPDX expression, else trove classifiers, else the first of its own words."""
    said = distribution.metadata
    classifiers = [words for words in said.get_all("Classifier") or () if words.startswith("License ::")]
    by_class = ", ".join(words.rpartition(" :: ")[2] for words in classifiers)
    [expression, words] = [str((said.get_all(field) or [""])[0]) for field in ("License-Expression", "License")]
    return expression or by_class or words.strip().partition("\n")[0] or "names no licence"


def empty(distribution: Distribution) -> bool:
    """Whether it only asks for others, as CUDA's toolkit does: no file of it is more than what it says of itself."""
    files = distribution.files
    return files is not None and all(file.parts[0].endswith(".dist-info") for file in files)


def main() -> None:
    """Write all of them."""
    for distribution in sorted(distributions(), key=lambda found: found.name.lower()):
        sys.stdout.write(f"{'=' * 120}\n{distribution.name} {distribution.version}: {licence(distribution)}\n")
        found = list(texts(distribution))
        for name, text in found:
            sys.stdout.write(f"{'-' * 120}\n{name}\n\n{text}\n")
        if not found:
            nothing = "It is a list of other packages, and holds nothing itself."
            sys.stdout.write(f"{nothing if empty(distribution) else 'It brings no licence text.'}\n")


if __name__ == "__main__":
    main()
