"""What a gallery of some size takes, by what was measured."""
