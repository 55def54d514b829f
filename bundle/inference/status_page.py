"""How far a watched folder is, as a page and as JSON: numbers and hashes, no names; nothing can be changed there."""

import html
import json
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bundle.inference.study_queue import QueuedStudy, StudyQueue

SHOWN = 50
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>vfss watch</title>
<meta http-equiv="refresh" content="10"><style>body{{font:16px sans-serif;margin:2em}}td,th{{padding:.2em 1em;
text-align:left}}</style></head><body><h1>{total} studies</h1><p>{counts}</p><table><tr><th>study</th><th>ended</th>
<th>status</th><th>clips</th><th>reason</th></tr>{rows}</table><p>Research use only, not for diagnosis.</p></body>
</html>
"""


class StatusPage:
    """A server in a thread of its own.

    Args:
        queue: What is shown.
        host: Address to listen on.
        port: Port to listen on; 0: any that is free.
    """

    def __init__(self, queue: StudyQueue, host: str = "127.0.0.1", port: int = 8010) -> None:
        self.queue, self.host, self.port = queue, host, port

    def start(self) -> str:
        """Serve until the process ends; gives the address.

        Raises:
            ValueError: If the port cannot be had.
        """
        queue = self.queue

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _answer(self, queue)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: who looks is nobody's business."""

        try:
            server = ThreadingHTTPServer((self.host, self.port), Handler)
        except (OSError, OverflowError) as error:
            raise ValueError(f"cannot listen to port {self.port} of {self.host} ({error}): choose another") from None
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"status page: http://{self.host}:{server.server_address[1]}/"


def _answer(request: BaseHTTPRequestHandler, queue: StudyQueue) -> None:
    if request.path not in ("/", "/status.json"):
        request.send_error(404)
        return
    counts, latest = queue.counts(), queue.latest(SHOWN)
    if request.path == "/":
        kind, text = "text/html; charset=utf-8", _page(counts, latest)
    else:
        kind = "application/json"
        text = json.dumps({"counts": counts, "latest": [study._asdict() for study in latest]}, indent=2)
    body = text.encode()
    request.send_response(200)
    for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")):
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


def _page(counts: dict[str, int], latest: Sequence[QueuedStudy]) -> str:
    rows = ""
    for study in latest:
        ended = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(study.ended))
        cells = (study.study, ended, study.status, study.clips, study.reason or "")
        rows += "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>"
    words = ", ".join(f"{number} {status}" for status, number in counts.items()) or "none yet"
    return PAGE.format(total=sum(counts.values()), counts=html.escape(words), rows=rows)
