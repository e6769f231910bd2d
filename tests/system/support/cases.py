"""Odd requests, and the exact answers a gateway gives them."""

from dataclasses import dataclass

from origin import answer
from support.wire import request

OK = answer("200 OK", "Content-Type: text/plain", body=b"ok\n")
NUL_BODY = bytes(range(256)) * 9


@dataclass(frozen=True)
class Case:
    name: str
    request: bytes
    response: bytes = OK
    # The gateway ends its answer by closing.
    closes: bool = False

    @property
    def method(self) -> str:
        return self.request.split(b" ", 1)[0].decode()

    @property
    def is_http_1_0(self) -> bool:
        return self.request.split(b"\r\n", 1)[0].endswith(b"HTTP/1.0")

    def with_run(self, run: str) -> bytes:
        """The request, marked so that the origin knows which script to play."""
        return self.request.replace(b"\r\n", f"\r\nX-Run: {run}\r\n".encode(), 1)


def raw(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


HOST = "Host: gateway.example"
ECHO = "/function/echo"

METHODS = [
    Case("get", request("GET", ECHO)),
    Case("post", request("POST", ECHO, body=b"hello")),
    Case("put", request("PUT", ECHO, body=b"hello")),
    Case("patch", request("PATCH", ECHO, body=b"hello")),
    Case("delete", request("DELETE", ECHO)),
    Case("delete_with_body", request("DELETE", ECHO, body=b"why")),
    Case("get_with_body", request("GET", ECHO, body=b"odd but legal")),
    Case("options", request("OPTIONS", ECHO)),
    Case("options_asterisk", request("OPTIONS", "*")),
    Case("propfind", request("PROPFIND", ECHO, "Depth: 1", body=b"<propfind/>")),
    Case("custom_method", request("BREW", ECHO)),
    Case("lower_case_method", request("get", ECHO)),
    Case("head", request("HEAD", ECHO), raw("HTTP/1.1 200 OK", "Content-Length: 1234")),
    Case("head_without_length", request("HEAD", ECHO), raw("HTTP/1.1 200 OK", "X-A: 1")),
    Case(
        "head_chunked",
        request("HEAD", ECHO),
        raw("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"),
    ),
]

PATHS = [
    "/",
    "/healthz",
    "/system/functions",
    "/ui/",
    "//system//functions",
    "/ui/./a",
    "/ui/a/../b",
    "/ui/a%2Fb",
    "/ui/a%2fb",
    "/ui/a%00b",
    "/ui/%41%c3%a9%FF",
    "/ui/a;a=b/c;d",
    "/ui/-._~!$&'()*+,;=:@",
    "/ui/{a}|b",
    "/ui//",
    "/function",
    "/function/echo/",
    "/function/echo//x//",
    "/function/echo/a%20b/c+d",
    "/function/echo/;a=b",
    "/function/echo/-._~!$&'()*+,;=:@",
    "/function/echo/v1.2/...",
    "/function/echo?",
    "/function/echo??a=b",
    "/function/echo?a=1&a=2&&=&b",
    "/function/echo?p=../../x&q=%2F%00%2e&r=/?:@!$'()*+,;",
    "/function/echo?" + "q" * 1000,
    "/function/echo/" + "p" * 7000,
    "/async-function/echo?x=1",
    "/function/a.b_c-D9",
    "/Function/echo",
    "/ui/*",
]

HEADERS = [
    Case("duplicate_fields", request("GET", ECHO, "X-A: 1", "X-B: 9", "X-A: 2", "X-A: 1")),
    Case("empty_value", request("GET", ECHO, "X-Empty:", "X-Blank:   ", "Accept:")),
    Case("field_case", request("GET", ECHO, "x-lower: 1", "X-UPPER: 2", "x-MiXeD-cAsE: 3")),
    Case("outer_space", request("GET", ECHO, "X-Space:  \t a  b \t ", "X-None:b")),
    Case("latin_1_value", request("GET", ECHO, "X-Name: caf\xe9 \xff\x80")),
    Case("odd_field_name", request("GET", ECHO, "!#$%&'*+-.^_`|~9: token")),
    Case("underscore_field", request("GET", ECHO, "X_Call_Id: 7", "hopwiser: mine")),
    Case("cookies", request("GET", ECHO, "Cookie: a=1; b=2", 'Cookie: c="3"')),
    Case("long_value", request("GET", ECHO, "X-Long: " + "v" * 8000)),
    Case("many_fields", request("GET", ECHO, *[f"X-F{i}: {i}" for i in range(60)])),
    Case("authorization", request("GET", ECHO, "Authorization: Basic YWRtaW46cGFzcw==")),
    Case("range", request("GET", ECHO, "Range: bytes=0-1", 'If-None-Match: "x", W/"y"')),
    Case(
        "gateway_fields",
        request(
            "POST",
            ECHO,
            "X-Call-Id: 0b9a",
            "X-Start-Time: 1700000000000000000",
            "X-Callback-Url: http://127.0.0.1:9/back?a=b",
            body=b"x",
        ),
        answer(
            "202 Accepted",
            "X-Call-Id: 0b9a",
            "X-Duration-Seconds: 0.000125",
            "X-Start-Time: 1700000000000000001",
            "X-Callback-Url: http://127.0.0.1:9/back?a=b",
        ),
    ),
    Case("listed_field", request("GET", ECHO, "Connection: X-Foo, keep-alive", "X-Foo: 1")),
    Case("keep_alive_field", request("GET", ECHO, "Keep-Alive: timeout=5", "X-Bar: 1")),
    Case("connection_close", request("GET", ECHO, "Connection: close"), closes=True),
    Case("via_and_forwarded", request("GET", ECHO, "Via: 1.0 a", "Forwarded: for=192.0.2.1")),
    Case("authority_with_port", raw(f"GET {ECHO} HTTP/1.1", "hOsT: a.example:8080")),
    Case("absolute_form", raw(f"GET http://gateway.example{ECHO}?a=%20 HTTP/1.1", HOST)),
]

BODIES = [
    Case("length_zero", raw(f"POST {ECHO} HTTP/1.1", HOST, "Content-Length: 0")),
    Case("length_absent", raw(f"POST {ECHO} HTTP/1.1", HOST)),
    Case("binary", request("POST", ECHO, body=NUL_BODY), answer("200 OK", body=NUL_BODY)),
    Case("body_1_mib", request("POST", ECHO, body=NUL_BODY * 456)),
    Case(
        "chunked_request",
        raw(
            f"POST {ECHO} HTTP/1.1",
            HOST,
            "Transfer-Encoding: chunked",
            body=b"3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n",
        ),
    ),
    Case(
        "chunked_empty",
        raw(f"POST {ECHO} HTTP/1.1", HOST, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ),
    Case(
        "chunk_extensions",
        raw(
            f"POST {ECHO} HTTP/1.1",
            HOST,
            "Transfer-Encoding: chunked",
            body=b'3;a=b\r\nabc\r\n3;c="d"\r\ndef\r\n0;last\r\n\r\n',
        ),
    ),
    Case(
        "request_trailers",
        raw(
            f"POST {ECHO} HTTP/1.1",
            HOST,
            "Transfer-Encoding: chunked",
            "Trailer: X-Sum, X-Other",
            body=b"3\r\nabc\r\n0\r\nX-Sum: 6\r\nX-Other: a, b\r\n\r\n",
        ),
    ),
    Case(
        "content_encoding_kept",
        request("POST", ECHO, "Content-Encoding: gzip", "Accept-Encoding: br", body=b"\x1f\x8b"),
        answer("200 OK", "Content-Encoding: gzip", body=b"\x1f\x8bnot really"),
    ),
]


def plain(name: str, response: bytes, closes: bool = False) -> Case:
    return Case(name, request("GET", ECHO), response, closes)


RESPONSES = [
    plain("status_204", raw("HTTP/1.1 204 No Content", "X-A: 1")),
    # Without Content-Length, which hyper leaves out of a 304 (README, "What a client sees").
    plain("status_304", raw("HTTP/1.1 304 Not Modified", 'ETag: "a"')),
    plain("status_301", answer("301 Moved Permanently", "Location: /elsewhere?a=%2F", body=b"m")),
    plain("status_401", answer("401 Unauthorized", 'WWW-Authenticate: Basic realm="x"')),
    plain("status_404", answer("404 Not Found", body=b"none\n")),
    plain("status_418", answer("418 I'm a teapot", body=b"short and stout")),
    plain("status_500", answer("500 Internal Server Error", body=b"boom")),
    plain("status_502", answer("502 Bad Gateway", body=b"from the gateway")),
    plain("status_599", answer("599 Own Code", body=b"x")),
    plain("reason_phrase", answer("200 All is well, (really)")),
    plain("reason_empty", raw("HTTP/1.1 200 ", "Content-Length: 0")),
    plain(
        "response_fields",
        answer(
            "200 OK",
            "sErVeR: own/1.0",
            "date: Thu, 01 Jan 1970 00:00:00 GMT",
            "Set-Cookie: a=1; Path=/",
            "X-Empty:",
            "set-cookie: b=2",
            "Set-Cookie: c=3",
            "X-DUP: 1",
            "X-DUP: 2",
            "x-name: caf\xe9",
        ),
    ),
    plain("response_bare", raw("HTTP/1.1 200 OK", "Content-Length: 2", body=b"hi")),
    plain(
        "response_listed_field",
        answer("200 OK", "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: timeout=9", "X-End: 2"),
    ),
    plain(
        "response_chunked",
        raw(
            "HTTP/1.1 200 OK",
            "Transfer-Encoding: chunked",
            body=b"4\r\nWiki\r\n5;x=y\r\npedia\r\n0\r\n\r\n",
        ),
    ),
    Case(
        "response_trailers",
        request("GET", ECHO, "TE: trailers", "Connection: TE"),
        raw(
            "HTTP/1.1 200 OK",
            "Trailer: X-Sum",
            "Transfer-Encoding: chunked",
            body=b"3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n",
        ),
    ),
    plain("until_close", raw("HTTP/1.1 200 OK", "X-A: 1", body=b"until the end"), closes=True),
    plain(
        "response_close",
        answer("200 OK", "Connection: close", body=b"and goodbye"),
        closes=True,
    ),
    plain("processing", raw("HTTP/1.1 102 Processing", body=OK)),
    plain("early_hints", raw("HTTP/1.1 103 Early Hints", "Link: </a.css>; rel=preload", body=OK)),
    plain("server_1_0", raw("HTTP/1.0 200 OK", "X-A: 1", body=b"old server"), closes=True),
]

OLD_CLIENTS = [
    Case("http_1_0", raw(f"GET {ECHO} HTTP/1.0", HOST), closes=True),
    Case("http_1_0_without_host", raw(f"GET {ECHO} HTTP/1.0"), closes=True),
    Case("http_1_0_keep_alive", raw(f"GET {ECHO} HTTP/1.0", HOST, "Connection: keep-alive")),
    Case(
        "http_1_0_post",
        raw(f"POST {ECHO} HTTP/1.0", HOST, "Content-Length: 5", body=b"hello"),
        closes=True,
    ),
]

CASES = [
    *METHODS,
    *(Case(f"path {path[:60]}", request("GET", path)) for path in PATHS),
    *HEADERS,
    *BODIES,
    *RESPONSES,
    *OLD_CLIENTS,
]
