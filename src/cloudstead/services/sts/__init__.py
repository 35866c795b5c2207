"""STS: temporary credentials."""

from cloudstead.kernel.operations import Service

SERVICE = Service(name="sts", modules=("callers", "roles", "web_identity", "tokens", "messages"))
