"""Puts a small stand-in in the daemon's place, in processes that have this folder on PYTHONPATH: the command line is tested apart from it.

STUB_DAEMON says how it behaves: serve (the default), crash (while starting), deaf (never healthy).
"""

import os
import sys
import types


def run(settings):
    import json
    import signal
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    from cloudstead import __version__, runfile

    behaviour = os.environ.get("STUB_DAEMON", "serve")
    with runfile.claim(settings.data) as claim:
        if behaviour == "crash":
            print("the store is broken", file=sys.stderr)
            return 7

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = json.dumps(
                    {"status": "running", "version": __version__, "services": {"iam": "running"}, "asked": self.path}
                ).encode()
                self.send_response(200 if behaviour == "serve" else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer((settings.host, settings.port), Handler)
        done = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: done.set())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        claim.publish(host=settings.host, port=server.server_port, tls=False)
        print("stub daemon:", settings.iam, "strict" if settings.strict else "lenient", file=sys.stderr, flush=True)
        done.wait()
        server.shutdown()
        print("stub daemon stopped", file=sys.stderr, flush=True)
    return 0


stub = types.ModuleType("cloudstead.daemon")
stub.run = run
sys.modules["cloudstead.daemon"] = stub
