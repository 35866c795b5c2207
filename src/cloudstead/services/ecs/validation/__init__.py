"""Whether a task definition is right, in AWS's sentences.

`check` raises at the first fault, as AWS does: of the task, then of each container, then of what holds between containers, and last, where the definition
requires Fargate, of what Fargate has not. `fargate.problems` also decides whether a definition that does not require Fargate is compatible with it.

    sizes           cpu and memory of the task, and the pairs that Fargate has
    task            family, platform, namespaces, storage, proxy, constraints
    containers      names, limits, health check, restart policy, …
    linux           linuxParameters, ulimits, security options, kernel parameters
    networking      what a network mode allows; ports
    volumes         volumes, and where they are mounted
    logs            log drivers and their options, FireLens
    sources         secrets, environment files, registry credentials
    graph           dependsOn, links, volumesFrom
    fargate         what Fargate lacks

All of it is pure: rows are not read, nobody is asked. Sentences: the troubleshooting pages of AWS's developer guide, and what its clients report; where AWS's
own is not known, the sentence is in the same manner.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html
"""

from __future__ import annotations

from cloudstead.services.ecs.checks import refused
from cloudstead.services.ecs.definition import Definition
from cloudstead.services.ecs.validation import containers, fargate, graph, linux, logs, networking, sources, task, volumes


def check(definition: Definition) -> None:
    """
    Raises:
        ClientException, InvalidParameterException
    """
    task.check(definition)
    containers.check(definition)
    linux.check(definition)
    volumes.check(definition)
    networking.check(definition)
    sources.check(definition)
    logs.check(definition)
    graph.check(definition)
    if "FARGATE" in (definition.requires_compatibilities or ()):
        for problem in fargate.problems(definition):
            refused(problem)
