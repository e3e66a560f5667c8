"""What the API says of itself: schemas, examples, the OpenAPI file and the page that shows it."""
