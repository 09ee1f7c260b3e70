"""Which document is learned from, chosen by, and tested on."""
