"""Scores, and the baselines a model has to beat."""
