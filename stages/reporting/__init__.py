"""The report: what the last run has left in files, as one page of HTML."""
