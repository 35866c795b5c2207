"""What concerns the kernel: linuxParameters, ulimits, security options, kernel parameters."""

from __future__ import annotations

from cloudstead.services.ecs.checks import refused
from cloudstead.services.ecs.definition import ContainerDefinition, Definition, Tmpfs
from cloudstead.services.ecs.validation.task import is_ipc_sysctl

CAPABILITIES = frozenset(
    [
        "ALL",
        "AUDIT_CONTROL",
        "AUDIT_READ",
        "AUDIT_WRITE",
        "BLOCK_SUSPEND",
        "BPF",
        "CHECKPOINT_RESTORE",
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "IPC_LOCK",
        "IPC_OWNER",
        "KILL",
        "LEASE",
        "LINUX_IMMUTABLE",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "MKNOD",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_RAW",
        "PERFMON",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_MODULE",
        "SYS_NICE",
        "SYS_PACCT",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "SYSLOG",
        "WAKE_ALARM",
    ]
)
MOUNT_OPTIONS = frozenset(
    [
        "defaults",
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "sync",
        "async",
        "dirsync",
        "remount",
        "mand",
        "nomand",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "bind",
        "rbind",
        "unbindable",
        "runbindable",
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
    ]
)
_VALUED_OPTIONS = ("mode=", "uid=", "gid=", "nr_inodes=", "nr_blocks=", "mpol=")


def check(definition: Definition) -> None:
    for each in definition.container_definitions:
        _parameters(each)
        _ulimits(each)
        _sysctls(definition, each)
        _security(each)


def _parameters(each: ContainerDefinition) -> None:
    linux = each.linux
    if linux.capabilities is not None:
        for name in (*(linux.capabilities.add or ()), *(linux.capabilities.drop or ())):
            if name not in CAPABILITIES:
                refused(f"{name} is not a valid Linux capability.")
    for device in linux.devices or ():
        if not device.host_path.startswith("/") or not (device.container_path or "/").startswith("/"):
            refused(f"Invalid device for container '{each.name}'. The paths of a device must be absolute.")
    for tmpfs in linux.tmpfs or ():
        _tmpfs(each.called, tmpfs)
    if linux.shared_memory_size is not None and linux.shared_memory_size < 0:
        refused(f"The 'sharedMemorySize' setting for container '{each.name}' must be at least 0.")
    _swap(each)


def _tmpfs(name: str, tmpfs: Tmpfs) -> None:
    if not tmpfs.container_path.startswith("/"):
        refused(f"Invalid tmpfs for container '{name}'. The container path must be absolute.")
    if tmpfs.size < 1:
        refused(f"Invalid tmpfs for container '{name}'. The size must be at least 1.")
    for option in tmpfs.mount_options or ():
        if option not in MOUNT_OPTIONS and not option.startswith(_VALUED_OPTIONS):
            refused(f"{option} is not a valid tmpfs mount option.")


def _swap(each: ContainerDefinition) -> None:
    linux = each.linux
    if linux.max_swap is not None and linux.max_swap < 0:
        refused(f"The 'maxSwap' setting for container '{each.name}' must be at least 0.")
    if linux.swappiness is not None and not 0 <= linux.swappiness <= 100:
        refused(f"The 'swappiness' setting for container '{each.name}' must be between 0 and 100.")


def _ulimits(each: ContainerDefinition) -> None:
    seen = set()
    for ulimit in each.ulimits or ():
        if ulimit.name in seen:
            refused(f"The ulimit {ulimit.name} is specified more than once for container '{each.name}'.")
        seen.add(ulimit.name)
        if ulimit.soft_limit < -1 or ulimit.hard_limit < -1:
            refused(f"Invalid limit for ulimit {ulimit.name}")
        if ulimit.hard_limit != -1 and not -1 < ulimit.soft_limit <= ulimit.hard_limit:
            refused(f"Soft limit exceeds hard limit for ulimit {ulimit.name}")


def _sysctls(definition: Definition, each: ContainerDefinition) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html#container_definition_systemcontrols"""
    for control in each.system_controls or ():
        if not control.namespace or control.value is None:
            refused("The namespace and value of a system control should not be null or empty.")
        network = control.namespace.startswith("net.")
        if not network and not is_ipc_sysctl(control.namespace):
            refused(f"{control.namespace} is not a valid system control namespace.")
        if network and definition.mode == "host":
            refused("Network namespace system controls are not supported when networkMode=host.")
        if not network and definition.ipc_mode == "host":
            refused("IPC namespace system controls are not supported when ipcMode=host.")


def _security(each: ContainerDefinition) -> None:
    for option in each.docker_security_options or ():
        if option not in ("no-new-privileges", "no-new-privileges:true") and not option.startswith(("apparmor:", "label:")):
            refused(f"{option} is not a valid docker security option.")
