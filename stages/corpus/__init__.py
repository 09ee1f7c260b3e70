"""The corpus folder and the tables made from it: what is read, how it is checked."""
