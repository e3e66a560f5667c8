"""Benchmarks and what makes the pictures of the docs; not installed."""
