"""Pictures that a gallery holds twice: found, shown, and erased when asked for."""
