"""pyarrow is an extra: who lacks it is told how to get it."""

from index.errors import InvalidValue


def require_pyarrow(command: str) -> None:
    """Raise InvalidValue where pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise InvalidValue(
            f"{command} needs pyarrow, which is not installed: pip install 'vehicle-search[parquet]', or build the "
            "image with --build-arg MORE=parquet"
        ) from error
