"""Which releases of the libraries that decide what is answered are loaded."""

import platform

import apsw
import faiss
import onnxruntime


def library_versions() -> dict[str, str]:
    """Python, ONNX Runtime, FAISS and SQLite, by name."""
    return {
        "python": platform.python_version(), "onnxruntime": onnxruntime.__version__, "faiss": faiss.__version__,
        "sqlite": apsw.sqlite_lib_version(),
    }  # fmt: skip
