"""Labels that the model doubts, and classes that it cannot tell apart: what to look at first."""
