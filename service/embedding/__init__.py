"""The model at work for many clients: which one answers, who works for it, and in which order."""
