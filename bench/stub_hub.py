"""What a Hub answers when it is asked what a repository of one file holds.

Usage: stub_hub.py NAME NBYTES SHA256; prints its address and answers until it is ended.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

name, nbytes, sha256 = sys.argv[1:]
TREE = [
    {
        "type": "file",
        "path": name,
        "size": int(nbytes),
        "oid": "0" * 40,
        "lfs": {"oid": sha256, "size": int(nbytes), "pointerSize": 135},
    }
]


class Handler(BaseHTTPRequestHandler):
    """Knows the list of files, of any repository, and nothing else."""

    def do_GET(self) -> None:
        """Send the list, or that there is nothing."""
        if "/tree/" not in self.path:
            self.send_error(404)
            return
        body = json.dumps(TREE).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


with HTTPServer(("127.0.0.1", 0), Handler) as server:
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
