"""Many pictures at once: read, embed and store, overlapped."""
