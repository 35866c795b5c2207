"""IAM: users, roles, policies and the keys that sign calls."""

from cloudstead.kernel.operations import Service

SERVICE = Service(name="iam", modules=("simulate",), tables="model:TABLES")
