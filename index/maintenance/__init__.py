"""What an operator does to a data folder: verify, repair, back up, restore."""
