"""Who may call, and what is kept of who asked what."""
