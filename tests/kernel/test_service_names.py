"""A service is called as botocore calls it; its package as Python lets it be called."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from cloudstead.edge.protocols.index import ServiceIndex
from cloudstead.kernel.operations import Service
from cloudstead.kernel.service_names import package_of, service_of
from cloudstead.services import SERVICES


@pytest.mark.parametrize(
    ("service", "package"), [("logs", "logs"), ("ecr-public", "ecr_public"), ("lambda", "lambda_"), ("resource-groups", "resource_groups")]
)
def test_a_package_is_called_after_its_service_as_far_as_python_can_say_it(service: str, package: str) -> None:
    assert package_of(service) == package
    assert service_of(package) == service


def test_every_service_of_aws_has_a_package_of_its_own() -> None:
    services = ServiceIndex.load().by_signing_name.values()
    names = {name for group in services for name in group}
    assert all(package_of(name).isidentifier() and service_of(package_of(name)) == name for name in names)
    assert len({package_of(name) for name in names}) == len(names)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_what_is_written_here_is_found_by_the_name_that_requests_lead_to(service: Service) -> None:
    assert service.name in ServiceIndex.load()
    api = importlib.import_module(f"{service.package}.api")
    assert service.name == api.SERVICE
    assert Path(str(api.__file__)).parent.name == package_of(service.name)
