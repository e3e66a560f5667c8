"""The service, whose small galleries take the ways of large ones."""

import sys
from importlib import import_module

from service.vehicle_search import main
from tests.index_kinds import EARLY

if __name__ == "__main__":
    for (module, name), value in EARLY.items():
        setattr(import_module(module), name, value)
    sys.exit(main())
