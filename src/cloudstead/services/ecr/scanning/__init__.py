"""Basic scanning: the packages that an image's layers hold, compared with what distributions say of them. Nothing is asked of the network.

layers.py       the few files that matter, read out of the layers
inventory.py    which system, which packages: dpkg, apk
versions.py     which of two versions is later, as dpkg and apk say
advisories.py   the security data: their form, where they lie, which are used
importing.py    security data made from Debian's security tracker and Alpine's secdb
matching.py     packages and security data -> findings, severities
findings.py     findings as they are kept
scanner.py      the loop: what is to be scanned, and what came of it
data/           the security data that are shipped, made by tools/security_data.py
"""
