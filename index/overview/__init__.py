"""What a gallery holds, in numbers and as a page to look at."""
