"""`curl -s --compressed -u USER:PASSWORD URL` for a machine without curl."""

from __future__ import annotations

import argparse
import base64
import sys
from urllib.request import ProxyHandler, Request, build_opener
from zlib import decompress

parser = argparse.ArgumentParser(prog="curl")
parser.add_argument("-s", action="store_true")
parser.add_argument("--compressed", action="store_true")
parser.add_argument("-u", dest="user", required=True)
parser.add_argument("url")
asked = parser.parse_args()
account = base64.b64encode(asked.user.encode()).decode()
headers = {"Authorization": f"Basic {account}", "Accept-Encoding": "gzip"}
with build_opener(ProxyHandler({})).open(Request(asked.url, headers=headers)) as answer:
    body = answer.read()
    gzipped = answer.headers["Content-Encoding"] == "gzip"
sys.stdout.buffer.write(decompress(body, wbits=31) if gzipped else body)
