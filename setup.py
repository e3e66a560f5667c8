"""Puts the default model into the wheel; pyproject.toml says everything else."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MODEL = Path("models/default.onnx")


class BuildWithModel(build_py):
    """The packages, and beside them the model file, where it is there: an image brings its own."""

    def run(self) -> None:
        """Build."""
        super().run()
        if MODEL.exists() and not self.editable_mode:
            shutil.copy(MODEL, Path(self.build_lib) / "index" / MODEL.name)


setup(cmdclass={"build_py": BuildWithModel})
