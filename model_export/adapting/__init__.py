"""Training a finished model on, without labels."""
