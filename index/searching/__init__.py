"""Vectors in memory: exact and approximate indexes over them, derived from the database and kept up with it."""
