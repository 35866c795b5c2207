"""EventBridge: buses, rules and targets, the public face of the kernel's event bus."""

from cloudstead.kernel.operations import Service

SERVICE = Service(name="events", modules=())
