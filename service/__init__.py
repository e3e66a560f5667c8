"""The HTTP service: pictures in, ranked matches out."""
