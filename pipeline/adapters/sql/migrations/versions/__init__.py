"""One module per version of the schema, in their order."""
