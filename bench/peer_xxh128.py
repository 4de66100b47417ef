"""XXH3-128 of a file as xxh128sum prints it, for machines without that program.

Usage: peer_xxh128.py FILE
"""

import sys
from pathlib import Path

import xxhash

digest = xxhash.xxh3_128()
buffer = memoryview(bytearray(1 << 20))
with Path(sys.argv[1]).open("rb", buffering=0) as file:
    while count := file.readinto(buffer):
        digest.update(buffer[:count])
print(f"{digest.hexdigest()}  {sys.argv[1]}")
