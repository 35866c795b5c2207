"""Volumes, and where containers have them.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html#volumes
"""

from __future__ import annotations

import re

from cloudstead.services.ecs.checks import NAME, refused, unsupported
from cloudstead.services.ecs.definition import Definition, DockerVolumeConfiguration, EFSVolumeConfiguration, Volume

_FILE_SYSTEM = re.compile(r"(arn:[^:]+:elasticfilesystem:[^:]+:\d{12}:file-system/)?fs-[0-9a-f]{8,40}")
_ACCESS_POINT = re.compile(r"(arn:[^:]+:elasticfilesystem:[^:]+:\d{12}:access-point/)?fsap-[0-9a-f]{8,40}")


def check(definition: Definition) -> None:
    names: set[str] = set()
    for volume in definition.volumes or ():
        if not volume.name:
            refused("Volume.name should not be null or empty.")
        if not NAME.fullmatch(volume.name):
            refused("Volume.name contains invalid characters.")
        if volume.name in names:
            refused(f"The volume name '{volume.name}' is used more than once.")
        names.add(volume.name)
        _volume(volume)
    _at_launch(definition)
    _mounts(definition, names)


def _volume(volume: Volume) -> None:
    if volume.fsx_windows_file_server_volume_configuration is not None:
        unsupported("FSx for Windows File Server")
    if volume.s3files_volume_configuration is not None:
        unsupported("s3filesVolumeConfiguration")
    source = volume.host is not None and volume.host.source_path is not None
    kinds = (source, volume.docker_volume_configuration is not None, volume.efs_volume_configuration is not None)
    if sum(kinds) > 1 or (volume.configured_at_launch and any(kinds)):
        refused(
            f"The volume '{volume.name}' must have only one of host, dockerVolumeConfiguration, efsVolumeConfiguration and configuredAtLaunch."
        )
    if source and not str(volume.host.source_path).startswith("/"):  # type: ignore[union-attr]  # it is there
        refused(f"Invalid volume '{volume.name}'. The source path must be absolute.")
    if volume.docker_volume_configuration is not None:
        _docker(volume.docker_volume_configuration)
    if volume.efs_volume_configuration is not None:
        _efs(volume.efs_volume_configuration)


def _docker(docker: DockerVolumeConfiguration) -> None:
    if docker.autoprovision is not None and docker.scope != "shared":
        refused("The autoprovision setting of a docker volume is only supported with the shared scope.")
    if docker.driver == "":
        refused("The driver of a docker volume should not be empty.")
    if not all((*(docker.driver_opts or {"o": ""}), *(docker.labels or {"o": ""}))):
        refused("The names of driver options and labels of a docker volume should not be empty.")


def _efs(efs: EFSVolumeConfiguration) -> None:
    if not _FILE_SYSTEM.fullmatch(efs.file_system_id):
        refused("The EFS file system ID is invalid.")
    encrypted = efs.transit_encryption == "ENABLED"
    if efs.transit_encryption_port is not None and not encrypted:
        refused("TransitEncryptionPort requires that TransitEncryption is enabled.")
    if efs.transit_encryption_port is not None and not 1 <= efs.transit_encryption_port <= 65535:
        refused("TransitEncryptionPort must be between 1 and 65535.")
    access = efs.authorization_config
    if access is None:
        return
    if access.iam == "ENABLED" and not encrypted:
        refused("EFS IAM authorization requires TransitEncryption to be enabled.")
    if access.access_point_id and not _ACCESS_POINT.fullmatch(access.access_point_id):
        refused("The EFS access point ID is invalid.")
    if access.access_point_id and not encrypted:
        refused("EFS access point requires TransitEncryption to be enabled.")
    if access.access_point_id and efs.root_directory not in (None, "", "/"):
        refused('When using an EFS access point, the root directory must either be set to "/" or be omitted.')


def _at_launch(definition: Definition) -> None:
    wanted = [volume.name for volume in definition.volumes or () if volume.configured_at_launch]
    if len(wanted) > 1:
        refused("A task definition can have at most one volume that is configured at launch.")
    mounted = {mount.source_volume for each in definition.container_definitions for mount in each.mount_points or ()}
    for name in wanted:
        if name not in mounted:
            refused(f"Volumes [{name}] are not referenced by any of the containers.")


def _mounts(definition: Definition, names: set[str]) -> None:
    for each in definition.container_definitions:
        places: set[str] = set()
        for mount in each.mount_points or ():
            if mount.source_volume is None or mount.source_volume not in names:
                refused(f"Unknown volume '{mount.source_volume or ''}'.")
            if not mount.container_path:
                refused("The container path of a mount point should not be null or empty.")
            if not mount.container_path.startswith("/"):
                refused(f"Invalid mount point for container '{each.name}'. The container path must be absolute.")
            if mount.container_path in places:
                refused(f"The container path {mount.container_path} is mounted more than once in container '{each.name}'.")
            places.add(mount.container_path)
