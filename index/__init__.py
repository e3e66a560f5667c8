"""Ground floor: read crops, embed them with an exported model, and keep them in a searchable gallery."""
