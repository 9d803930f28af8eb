"""A folder's files over HTTP, with as little of the machine's time as can be: by sendfile.

python -m bench.serve PORT
"""

from __future__ import annotations

import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(SimpleHTTPRequestHandler):
    """The kernel sends the file, so that the server takes little CPU time from the importer."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send the body."""
        self.connection.sendfile(source)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
