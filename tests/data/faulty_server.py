"""A server that truncates, stalls, drips, redirects or lies, as the path says."""

import contextlib
import http.server
import threading
from collections.abc import Iterator

CONTENT = bytes(range(256)) * 1000


class Faults(http.server.BaseHTTPRequestHandler):
    """Sends `CONTENT` with the fault that the path names."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        getattr(self, self.path.strip("/").split("/")[0])()

    def start(self, length=None, status=200, **headers):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def until_closed(self, send, pause=0.0):
        """Call `send` until the client closes the connection or the test is over."""
        while not self.server.finished.wait(pause):
            try:
                send()
            except OSError:
                return

    def good(self):
        self.start(len(CONTENT))
        self.wfile.write(CONTENT)

    def unknown_length(self):
        self.start()
        self.wfile.write(CONTENT)

    def truncated(self):
        self.start(len(CONTENT))
        self.wfile.write(CONTENT[:1000])

    def truncated_unknown_length(self):
        self.start()
        self.wfile.write(CONTENT[:1000])

    def empty(self):
        self.start(len(CONTENT))

    def smaller(self):
        self.start(18)
        self.wfile.write(b"<html>login</html>")

    def larger(self):
        self.start(758_000_000)
        self.until_closed(lambda: self.wfile.write(CONTENT))

    def endless(self):
        self.start()
        self.until_closed(lambda: self.wfile.write(CONTENT))

    def stalled(self):
        self.start(len(CONTENT))
        self.wfile.write(CONTENT[:1000])
        self.server.finished.wait()

    def silent(self):
        self.server.finished.wait()

    def drip(self):
        self.start(len(CONTENT))
        self.until_closed(lambda: self.wfile.write(b"x"), 0.01)

    def drip_headers(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
        self.until_closed(lambda: self.wfile.write(b"x"), 0.01)

    def slow(self):
        self.start()
        self.until_closed(lambda: self.wfile.write(b"x" * 100), 0.01)

    def redirects(self):
        self.start(0, 302, Location="/redirects/")

    def redirect_to_good(self):
        self.start(0, 302, Location="/good/")

    def redirect_to_file(self):
        self.start(0, 302, Location="file:///etc/passwd")

    def missing(self):
        self.send_error(404)

    def failing(self):
        self.send_error(503)

    def not_http(self):
        self.wfile.write(b"\0\0\0\0 nonsense\r\n\r\n")

    def encoded(self):
        self.start(len(CONTENT), **{"Content-Encoding": "gzip"})
        self.wfile.write(CONTENT)


@contextlib.contextmanager
def faulty_server() -> Iterator[str]:
    """Run the server in a thread during the block; yields its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Faults) as server:
        server.finished = threading.Event()
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.finished.set()
        server.shutdown()
        thread.join()
