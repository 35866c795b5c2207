"""What a registry refuses, with the codes of OCI distribution-spec 1.1, "Error Codes".

    RegistryError (an EngineError)   status and code of the answer; `detail` is what the specification leaves open
    ├── NameInvalid, NameUnknown, ManifestUnknown, ManifestInvalid, ManifestBlobUnknown, TagImmutable, ImageReferenced
    ├── BlobUnknown, UploadUnknown, UploadInvalid, UploadBusy, RangeInvalid, DigestInvalid, SizeInvalid, TooLarge
    └── Unauthorized, Denied, UnsupportedHere, TooManyRequests

Services that show the same content by an API of their own translate them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from cloudstead.engine.errors import EngineError

MOST_NAMED = 100  # digests of those that are missing: an answer is not to be larger than the manifest that it refuses


class RegistryError(EngineError):
    oci_code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 400

    def __init__(self, message: str, *, detail: Any = None, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.detail = detail
        self.headers = headers


class NameInvalid(RegistryError):
    oci_code = "NAME_INVALID"


class NameUnknown(RegistryError):
    oci_code, status = "NAME_UNKNOWN", 404


class ManifestUnknown(RegistryError):
    oci_code, status = "MANIFEST_UNKNOWN", 404


class ManifestInvalid(RegistryError):
    oci_code = "MANIFEST_INVALID"


class TagInvalid(RegistryError):
    oci_code = "TAG_INVALID"


class TagImmutable(TagInvalid):
    """The tag stands for another image, and may not be moved."""


class ManifestBlobUnknown(RegistryError):
    """A manifest speaks of blobs or manifests that its repository does not have; `digests` names them."""

    oci_code, status = "MANIFEST_BLOB_UNKNOWN", 404

    def __init__(self, message: str, digests: tuple[str, ...], *, manifests: bool = False) -> None:
        super().__init__(message, detail=[{"digest": digest} for digest in digests[:MOST_NAMED]])
        self.digests = digests
        self.manifests = manifests  # they are those of an index


class ImageReferenced(RegistryError):
    """An index that is here speaks of the image that was to be deleted."""

    oci_code, status = "DENIED", 405


class BlobUnknown(RegistryError):
    oci_code, status = "BLOB_UNKNOWN", 404


class UploadUnknown(RegistryError):
    oci_code, status = "BLOB_UPLOAD_UNKNOWN", 404


class UploadInvalid(RegistryError):
    oci_code = "BLOB_UPLOAD_INVALID"


class UploadBusy(UploadInvalid):
    """Somebody else is writing to the upload at this moment."""

    status = 409


class RangeInvalid(RegistryError):
    """A chunk does not go on where the upload stands."""

    oci_code, status = "BLOB_UPLOAD_INVALID", 416


class DigestInvalid(RegistryError):
    oci_code = "DIGEST_INVALID"


class SizeInvalid(RegistryError):
    oci_code = "SIZE_INVALID"


class TooLarge(RegistryError):
    oci_code, status = "SIZE_INVALID", 413


class Unauthorized(RegistryError):
    """Nobody, or somebody with a password that is not (any longer) good. `headers` has the challenge."""

    oci_code, status = "UNAUTHORIZED", 401


class Denied(RegistryError):
    oci_code, status = "DENIED", 403


class UnsupportedHere(RegistryError):
    oci_code, status = "UNSUPPORTED", 405


class TooManyRequests(RegistryError):
    oci_code, status = "TOOMANYREQUESTS", 429
