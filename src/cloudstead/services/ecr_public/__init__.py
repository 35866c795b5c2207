"""Elastic Container Registry Public: repositories that everybody may pull from, with what a gallery tells of them."""

from cloudstead.kernel.operations import Service

SERVICE = Service(name="ecr-public", modules=())
