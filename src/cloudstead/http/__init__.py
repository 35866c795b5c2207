"""HTTP/1.1, server and client, on asyncio and httptools. Knows nothing of AWS; the rest of the edge is its handler."""
