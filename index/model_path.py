"""Where the default model is: in the working folder of a checkout, or in the package that was installed."""

from pathlib import Path
from typing import Final

DEFAULT_MODEL: Final = Path("models/default.onnx")
PACKAGED_MODEL: Final = Path(__file__).with_name(DEFAULT_MODEL.name)


def model_path(named: Path) -> Path:
    """The model file of this name; for the default's the installed one, where the working folder has none."""
    if named == DEFAULT_MODEL and not named.exists() and PACKAGED_MODEL.exists():
        return PACKAGED_MODEL
    return named
