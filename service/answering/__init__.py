"""What routes answer by: the body, a request's turn, what is searched with, the search, stored pictures."""
