"""Containers, images and networks; knows no AWS.

    dockerapi/   the Docker Engine API on a unix socket
    build/       images from Dockerfiles
    pods/        groups of containers that share a network; `api.py` is the driver interface, `oci` and `simulated` the drivers
    images/      the content store, references, pull and push, save, load, import, commit
    snapshots/   layers unpacked once, root file systems of containers mounted from them, what changed in them
    network/     VPCs, addresses, security groups, published ports, names
    volumes/     folders that outlive containers
    host/        the process with root's rights: takes commands, answers, tells events; rooms above give it their commands

A room imports rooms below it, and what stands beside them: `errors`, `spec`, `tar`, `compression`, `linux`, `threads`. `engine.py` puts the rooms
together, `start.py` is the engine as the daemon has it.

Each room that needs root has two sides. `commands.py` is pure data that both know; `host.py` (or `host_*.py`) carries the commands out and is
loaded only in the host's process; everything else runs in the daemon, which may run as any user, and touches nothing that root owns.
"""
