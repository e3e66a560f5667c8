"""Viewpoints given to pictures: by a person on a local page, and by V-Net where it is sure."""
