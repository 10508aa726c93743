"""IDOL's network: pyramid, transformer, mask head, embedding head."""
