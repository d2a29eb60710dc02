"""A real HTTP server that answers as a test scripts it, and remembers what it was asked."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Request:
    def __init__(self, handler, body):
        self.method = handler.command
        self.path, _, self.query = handler.path.partition("?")
        self.headers = handler.headers
        self.body = body

    def __repr__(self):
        return f"{self.method} {self.path}"


class Answer:
    """`cut` bytes are held back, and the connection closed."""

    def __init__(self, status=200, body=b"", *, cut=0, **headers):
        self.status = status
        self.body = body
        self.cut = cut
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Peer:
    """`answer` is called with each request; requests to `/v2/` alone are answered with 200."""

    def __init__(self, answer, address="127.0.0.1"):
        self.requests = []
        self.answer = answer
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                body = self._read_body()
                request = Request(self, body)
                peer.requests.append(request)
                answer = peer.answer(request)
                if answer is None:
                    answer = Answer(200 if request.path == "/v2/" else 404)
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body[: len(answer.body) - answer.cut])
                if answer.cut:
                    self.close_connection = True

            def _read_body(self):
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    parts = []
                    while size := int(self.rfile.readline(), 16):
                        parts.append(self.rfile.read(size))
                        self.rfile.readline()
                    self.rfile.readline()
                    return b"".join(parts)
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer((address, 0), Handler)
        self.server.daemon_threads = True
        self.address = f"{address}:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def asked(self, *, without_ping=True):
        return [
            f"{request.method} {request.path}"
            for request in self.requests
            if not without_ping or request.path != "/v2/"
        ]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
