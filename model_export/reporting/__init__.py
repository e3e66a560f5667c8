"""Finished models, opened, measured and shown."""
