"""How much goes on at once: work by its urgency, bodies in memory, connections, requests of a key."""
