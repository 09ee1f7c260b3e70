"""How predictions are written."""
