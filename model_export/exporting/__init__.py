"""From a checkpoint to the file that the service runs."""
