"""Bytes by name, where every replica of the service finds them: a folder, a shared mount, an S3-compatible store."""
