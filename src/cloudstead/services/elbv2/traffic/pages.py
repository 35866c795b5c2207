"""What a load balancer itself answers: errors as AWS's look, fixed responses, redirects."""

from __future__ import annotations

import html

from cloudstead.http.messages import HttpResponse
from cloudstead.services.elbv2.model import FixedResponse, Redirect

SERVER = "awselb/2.0"
_TITLES = {
    301: "Moved Permanently",
    302: "Found",
    400: "Bad Request",
    404: "Not Found",
    413: "Request Entity Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}


def page(status: int, note: str = "") -> HttpResponse:
    """AWS's page for a status."""
    title = f"{status} {_TITLES[status]}"
    more = f"<p>{html.escape(note)}</p>\r\n" if note else ""
    body = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n{more}</body>\r\n</html>\r\n"
    return HttpResponse(status, [("Server", SERVER), ("Content-Type", "text/html")], body.encode())


def fixed(action: FixedResponse) -> HttpResponse:
    headers = [("Server", SERVER)]
    if action.body or action.content_type:
        headers.append(("Content-Type", f"{action.content_type or 'text/plain'}; charset=utf-8"))
    return HttpResponse(int(action.status), headers, (action.body or "").encode())


def redirect(action: Redirect, *, protocol: str, host: str, port: int, path: str, query: str) -> HttpResponse:
    """
    Args:
        path: of the request, with its leading slash.
    """
    known = {"protocol": protocol, "host": host, "port": str(port), "path": path[1:], "query": query}
    status = 302 if action.status == "HTTP_302" else 301
    response = page(status)
    response.headers.append(("Location", location(action, known)))
    return response


def location(action: Redirect, known: dict[str, str]) -> str:
    """The URL of a redirect."""
    scheme = filled(action.protocol, known).lower()
    port = filled(action.port, known)
    url = f"{scheme}://{filled(action.host, known)}:{port}{filled(action.path, known)}"
    query = filled(action.query, known)
    return f"{url}?{query}" if query else url


def filled(text: str, known: dict[str, str]) -> str:
    """A text with its `#{host}` and the like replaced, each once: what stands in the values is not looked at again."""
    pieces = text.split("#{")
    found = pieces[0]
    for piece in pieces[1:]:
        word, closed, rest = piece.partition("}")
        found += known[word] + rest if closed and word in known else "#{" + piece
    return found
