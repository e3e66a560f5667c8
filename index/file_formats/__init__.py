"""What the container formats say of a picture before it is decoded: size, orientation, completeness."""
