"""Asking a language model over HTTP: paced, within a budget, every answer kept."""
