"""Registries: repositories of images and other artifacts, with the OCI distribution API on them. Knows no AWS; ECR's rules come in as a `Gate`."""
