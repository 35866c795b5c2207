"""CloudWatch Logs: groups, streams and events on durable segment files."""

from cloudstead.kernel.operations import Service

SERVICE = Service(name="logs", modules=())
