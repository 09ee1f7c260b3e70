"""From a file to Markdown and plain text: engines, worker processes, titles, what counts as text."""
