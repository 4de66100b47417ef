"""Release definitions: reading them, and the known ones, the *.toml files here."""
