"""The service, whose model takes as long to open as a test wants: ``STUCK`` names a file that ends it, or is ``for ever``.

For ever is a call that no signal ends, as of a library that waits for a device.
"""

import ctypes
import os
import sys
import time
from pathlib import Path

from index.embedder import Embedder
from service.embedding import loaded_models
from service.settings import Settings
from service.vehicle_search import main

open_model = loaded_models.open_model


def open_slowly(file: Path, settings: Settings, *, alone: bool = True) -> Embedder:
    """The model, when the test says so."""
    sys.stdout.write("opening\n")
    sys.stdout.flush()
    if os.environ["STUCK"] == "for ever":
        lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(128)
        for _ in range(2):
            lock(mutex)
    while not Path(os.environ["STUCK"]).exists():
        time.sleep(0.01)
    loaded_models.open_model = open_model
    return open_model(file, settings, alone=alone)


if __name__ == "__main__":
    loaded_models.open_model = open_slowly
    sys.exit(main())
