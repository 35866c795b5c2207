"""Containers, images and networks; knows no AWS.

    host/        the process with root's rights: takes commands, answers, tells events; rooms below give it their commands
    images/      the content store, references, pull and push, save, load, import, commit
    snapshots/   layers unpacked once, root file systems of containers mounted from them, what changed in them
    pods/        groups of containers that share a network; `api.py` is the driver interface, `oci` and `simulated` the drivers
    network/     VPCs, addresses, security groups, published ports, names
    volumes/     folders that outlive containers
    build/       images from Dockerfiles
    dockerapi/   the Docker Engine API on a unix socket

Each room that needs root has two sides. `commands.py` is pure data that both know; `host.py` (or `host_*.py`) carries the commands out and is
loaded only in the host's process; everything else runs in the daemon, which may run as any user, and touches nothing that root owns.
"""
