"""What replicas of the service share, in a PostgreSQL database."""
