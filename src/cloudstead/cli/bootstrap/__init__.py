"""Base images without a registry: root file systems made from Debian packages, as archives that `docker load` reads.

    recipes.py    which images there are, and what is in them
    busybox.py    a root file system around the host's static busybox
    debian.py     root file systems by mmdebstrap
    sources.py    where packages come from: the host's own mirror and proxy, unless others are named
    archive.py    the archive: configuration, layer, names
    making.py     makes what is not in the cache

What is made is the same byte for byte when the packages are: times are those of the archive's newest release file, or of SOURCE_DATE_EPOCH.
"""
