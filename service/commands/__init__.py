"""What can be asked for beside serving: keys, a search, the OpenAPI file."""
