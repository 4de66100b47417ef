"""Bounds on what a hostile header may ask for.

A header is text from strangers that is parsed before anything about it is known. The
bounds are far above what image models need and far below what hurts: a header within
all of them is read in seconds and in a few hundred megabytes.
"""

from typing import Final

HEADER_NBYTES_MAX: Final = 100_000_000
"""Bytes of the header; the reference library's own limit."""

HEADER_NBYTES_WARN: Final = 16 * 2**20
"""Bytes above which some readers, the Hub's among them, give up."""

TENSORS_MAX: Final = 200_000
"""Tensors of one file."""

JSON_COMMAS_MAX: Final = 2 * 2**20
"""Commas outside strings, and so the number of JSON values."""

JSON_OBJECTS_MAX: Final = 2**20
"""Objects of one JSON text that is no header."""

JSON_DEPTH_MAX: Final = 127
"""Levels of nesting; the reference library refuses the 128th."""

NUMBER_LENGTH_MAX: Final = 20
"""Digits of an integer; 2**64 - 1 has as many."""

RANK_MAX: Final = 1024
"""Dimensions of one tensor."""

RANK_WARN: Final = 32
"""Dimensions above which frameworks start to refuse."""

NAME_NBYTES_MAX: Final = 1024
"""Bytes of a tensor name in UTF-8."""

METADATA_NBYTES_MAX: Final = 8 * 2**20
"""Bytes of all metadata keys and values in UTF-8."""

METADATA_NBYTES_WARN: Final = 256 * 2**10
"""Bytes of metadata above which it is more likely a payload than a description."""

UNKNOWN_FIELD_NBYTES_MAX: Final = 1024
"""Bytes of an entry's unknown fields, written as compact JSON."""

PADDING_NBYTES_WARN: Final = 4096
"""Bytes of padding behind the header's text; page alignment explains no more."""

DIM_MAX: Final = 2**63 - 1
"""Largest dimension, number of elements and offset; what frameworks can index."""

UINT64_MAX: Final = 2**64 - 1
"""Largest integer a header may hold anywhere, and number of bits of a tensor."""

INDEX_NBYTES_MAX: Final = 64 * 2**20
"""Bytes of a shard index; one of `TENSORS_MAX` usual names is half as large."""

SHARDS_MAX: Final = 512
"""Files of one checkpoint; each of them stays open, and systems allow about 1,000."""

FOLDER_ENTRIES_MAX: Final = 10_000
"""Files and folders of one folder that is listed."""

SMALL_FILE_NBYTES_MAX: Final = 16 * 2**20
"""Bytes of a configuration or vocabulary; the largest tokenizers have about 10 MB."""

SMALL_FILES_MAX: Final = 256
"""Configurations and vocabularies of one pipeline; real ones have about 15."""
