"""The review page: a person's decisions about documents, written into the corpus as they are made."""
