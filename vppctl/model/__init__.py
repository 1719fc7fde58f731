"""The model: interfaces, documents, keys. Pure."""
