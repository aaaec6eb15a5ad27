"""What wrk prints, read; and with wrk installed, what it sends."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from benchmarks.wrk_load import MARK, USER_MARK, WrkFailed, WrkResult, has_wrk, parse_wrk, run_wrk

SAID = """Running 3s test @ http://127.0.0.1:7480
  2 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    81.02ms   12.31ms 150.11ms   71.33%
    Req/Sec    98.04     20.12   150.00     66.67%
  Latency Distribution
     50%  980.50us
     75%   90.01ms
     90%   98.12ms
     99%    1.21s
  590 requests in 3.01s, 102.57KB read
  Socket errors: connect 0, read 2, write 0, timeout 1
  Non-2xx or 3xx responses: 4
Requests/sec:    196.01
"""


def test_numbers_of_wrk_are_read_in_their_units() -> None:
    assert parse_wrk(SAID) == WrkResult(590, 3.01, 0.9805, 1210.0, 7)
    assert parse_wrk("\n".join(SAID.splitlines()[:-3])) == WrkResult(590, 3.01, 0.9805, 1210.0, 0)


def test_what_is_no_result_is_said_as_it_is() -> None:
    with pytest.raises(WrkFailed, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:7480 Connection refused\n")


@pytest.mark.skipif(not has_wrk(), reason="wrk is not installed")
def test_no_two_requests_of_wrk_have_the_same_ids_and_users_go_round() -> None:
    bodies = list[Any]()

    class Taking(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    body = json.dumps({"id": [f"{MARK}-0", f"{MARK}-1"], "user": f"u-{USER_MARK}"})
    done = run_wrk("127.0.0.1", server.server_address[1], body, "run", 4, 1, 200.0)
    server.shutdown()
    server.server_close()
    assert done.failed == 0 and done.requests <= len(bodies)
    ids = [each for sent in bodies for each in sent["id"]]
    assert len(set(ids)) == len(ids) == 2 * len(bodies)
    assert {sent["user"] for sent in bodies} <= {f"u-{number}" for number in range(100)}
