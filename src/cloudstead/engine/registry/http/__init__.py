"""The OCI distribution API, version 1.1, of what a catalog keeps.

    api.py         RegistryApi: who, where, what; errors become the protocol's
    paths.py       a request's path and query taken apart
    ranges.py      Range and Content-Range
    blobs.py       GET, HEAD, DELETE
    uploads.py     POST, PATCH, PUT, GET, DELETE of uploads; mounting
    manifests.py   GET, HEAD, PUT, DELETE
    listings.py    tags, referrers, the catalog of repositories
    answers.py     headers and error bodies

https://github.com/opencontainers/distribution-spec/blob/main/spec.md. Every Location is a path without a host: it is right by whatever name, port and
scheme the client came (RFC 9110, 10.2.2).
"""
