"""The model card: facts of a release, laid out as a page for the Hub."""
