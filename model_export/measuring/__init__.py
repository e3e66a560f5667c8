"""How well a model finds vehicles again."""
