"""What `docker/` says, for tests: its Dockerfile stage by stage, its locks pin by pin."""

import re
from dataclasses import dataclass
from pathlib import Path

DOCKERFILE = Path("docker/Dockerfile")
LOCKS = Path("docker/locks")
EXTRAS = {"service": {"cpu"}, "service-gpu": {"gpu"}, "train": {"train"}}  # of the package, by target
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)((?: --hash=sha256:[0-9a-f]{64})+)$")


@dataclass(frozen=True)
class Instruction:
    """A word and what follows it: ``COPY``, ``index index``."""

    word: str
    rest: str


@dataclass(frozen=True)
class Stage:
    """A stage of a Dockerfile; ``base`` is another's name, or an image."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def all(self, word: str) -> list[str]:
        """What follows this word, each time."""
        return [instruction.rest for instruction in self.instructions if instruction.word == word]


def stages(path: Path = DOCKERFILE) -> dict[str, Stage]:
    """By name, in order."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, Stage] = {}
    for part in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]:
        head, *lines = part.splitlines()
        base, _, name = head.split()
        said = tuple(Instruction(*line.split(maxsplit=1)) for line in lines if line.strip())
        found[name] = Stage(name, base, said)
    return found


def lineage(target: str, among: dict[str, Stage]) -> list[Stage]:
    """The stages that a target is made of, the lowest first: what an image of it inherits."""
    below = among[target].base
    return [*(lineage(below, among) if below in among else []), among[target]]


def pins(path: Path) -> dict[str, str]:
    """Version of each distribution that a lock pins, by normalised name; each has hashes, and nothing else is there."""
    found = {}
    for line in path.read_text(encoding="utf-8").replace(" \\\n   ", "").splitlines():
        if line.startswith("#"):
            continue
        pin = _PIN.match(line)
        assert pin is not None, f"{path}: no pin with hashes: {line}"
        found[normalised(pin[1])] = pin[2]
    return found


def normalised(name: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()
