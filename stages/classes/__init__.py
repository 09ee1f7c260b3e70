"""From the annotators' categories to the classes of the classifier."""
