"""A gallery brought to another home, as it is, and held against the first."""
