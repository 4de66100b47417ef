"""Claims: what manifests, sums files, headers and catalog say that a file is."""
