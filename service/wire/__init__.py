"""What goes over the wire: problems, JSON, answers in pieces, query strings, tensors."""
