"""A gallery as files that other programs read: a Parquet table and pictures, out and in again."""
