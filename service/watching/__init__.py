"""What is seen of the service at work: figures, the stages of a request, lines of the log, galleries that fail."""
