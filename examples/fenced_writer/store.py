"""A store that several writers may reach, and that believes only the latest leader: python store.py PORT

Whoever writes says in which term. A term below the highest that was ever seen here is refused, whatever its writer
believes of itself: it may have stood still for an hour. That is all that a store has to do for a fencing token, and it
has to do it in the same step as the write; a store that lasts keeps the term with what was written.
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Store(BaseHTTPRequestHandler):
    highest_term = 0
    written: bytes = b""

    def do_PUT(self) -> None:
        term = int(self.headers["X-Term"])
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if term < Store.highest_term:
            self._answer(409, f"term {term} is over: {Store.highest_term} is the latest\n".encode())
            return
        Store.highest_term, Store.written = term, body
        self._answer(200, b"written\n")

    def do_GET(self) -> None:
        self._answer(200, Store.written)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *values: object) -> None:
        pass


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Store).serve_forever()  # one request at a time
