"""What people say of matches: kept with a gallery, and given out as a data set."""
