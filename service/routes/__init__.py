"""Every route, a module for those that belong together, and the pages for people."""
