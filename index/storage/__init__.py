"""The truth on disk: one SQLite database a gallery, and the crops beside it."""
