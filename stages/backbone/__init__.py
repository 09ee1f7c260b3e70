"""The pretrained encoder that training starts from, and where its files come from."""
