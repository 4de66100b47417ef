"""Numbers: dtypes, exact casts between them, digests of their bytes, sizes."""
