"""Elastic Container Registry Public: repositories that everybody may pull from, and what a gallery tells of them.

Images, tags and blobs are `engine.registry`'s, in the registry "public/<account>"; this package has AWS's API on them, names and rules. There is one
such registry for an account, in us-east-1, and it is known to the world by its alias: `public.ecr.localhost:4566/<alias>/<repository>`.
"""

from cloudstead.kernel.operations import Service

SERVICE = Service(
    name="ecr-public",
    modules=("authorization", "catalog_data", "images", "layers", "registries", "repositories", "repository_policies", "tagging"),
    tables="model:TABLES",
)
