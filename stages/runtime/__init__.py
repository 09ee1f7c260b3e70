"""What cannot change an output: settings of this machine, errors, logs, progress, the checker.

Nothing here is a dependency of a stage, so that a reworded message reruns nothing.
"""
