"""Security policies as data: which versions of TLS and which ciphers a listener accepts.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html
"""

from __future__ import annotations

from typing import NamedTuple

DEFAULT = "ELBSecurityPolicy-2016-08"  # of a listener that names none, by the API
_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_FORWARD_GCM = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
_FORWARD_CBC2 = (
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-RSA-AES256-SHA384",
)
_FORWARD_CBC1 = ("ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA", "ECDHE-ECDSA-AES256-SHA")
_RSA_2 = ("AES128-GCM-SHA256", "AES128-SHA256", "AES256-GCM-SHA384", "AES256-SHA256")
_RSA_1 = ("AES128-SHA", "AES256-SHA")


class Policy(NamedTuple):
    protocols: tuple[str, ...]
    ciphers: tuple[str, ...]


_OLD = ("TLSv1", "TLSv1.1", "TLSv1.2")
_ALL12 = (*_FORWARD_GCM, *_FORWARD_CBC2, *_FORWARD_CBC1, *_RSA_2, *_RSA_1)
POLICIES = {
    "ELBSecurityPolicy-2016-08": Policy(_OLD, _ALL12),
    "ELBSecurityPolicy-TLS13-1-2-2021-06": Policy(("TLSv1.2", "TLSv1.3"), (*_13, *_FORWARD_GCM, *_FORWARD_CBC2)),
    "ELBSecurityPolicy-TLS13-1-2-Res-2021-06": Policy(("TLSv1.2", "TLSv1.3"), (*_13, *_FORWARD_GCM)),
    "ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06": Policy(("TLSv1.2", "TLSv1.3"), (*_13, *_FORWARD_GCM, *_FORWARD_CBC2, *_RSA_2)),
    "ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06": Policy(("TLSv1.2", "TLSv1.3"), (*_13, *_ALL12)),
    "ELBSecurityPolicy-TLS13-1-1-2021-06": Policy(("TLSv1.1", "TLSv1.2", "TLSv1.3"), (*_13, *_ALL12)),
    "ELBSecurityPolicy-TLS13-1-0-2021-06": Policy((*_OLD, "TLSv1.3"), (*_13, *_ALL12)),
    "ELBSecurityPolicy-TLS13-1-3-2021-06": Policy(("TLSv1.3",), _13),
    "ELBSecurityPolicy-TLS-1-2-2017-01": Policy(("TLSv1.2",), (*_FORWARD_GCM, *_FORWARD_CBC2, *_RSA_2)),
    "ELBSecurityPolicy-TLS-1-2-Ext-2018-06": Policy(("TLSv1.2",), _ALL12),
    "ELBSecurityPolicy-TLS-1-1-2017-01": Policy(("TLSv1.1", "TLSv1.2"), _ALL12),
    "ELBSecurityPolicy-FS-2018-06": Policy(_OLD, (*_FORWARD_GCM, *_FORWARD_CBC2, *_FORWARD_CBC1)),
    "ELBSecurityPolicy-FS-1-2-2019-08": Policy(("TLSv1.2",), (*_FORWARD_GCM, *_FORWARD_CBC2, *_FORWARD_CBC1)),
    "ELBSecurityPolicy-FS-1-2-Res-2019-08": Policy(("TLSv1.2",), (*_FORWARD_GCM, *_FORWARD_CBC2)),
    "ELBSecurityPolicy-FS-1-2-Res-2020-10": Policy(("TLSv1.2",), _FORWARD_GCM),
    "ELBSecurityPolicy-FS-1-1-2019-08": Policy(("TLSv1.1", "TLSv1.2"), (*_FORWARD_GCM, *_FORWARD_CBC2, *_FORWARD_CBC1)),
}
