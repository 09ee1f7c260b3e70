"""The six stages, the commands around the trained model, and the rooms they share."""
