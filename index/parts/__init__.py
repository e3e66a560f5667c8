"""Pictures embedded part by part into an export, by workers that know nothing of each other."""
