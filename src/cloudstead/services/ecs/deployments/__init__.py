"""What a service does next. Pure: its tasks and what is wanted of it go in; tasks to start and to stop, deployments as they are now, and sentences come out.

    model.py        a service, its deployments and tasks as the plan sees them; what a plan says
    plan.py         the plan: takes account, moves, concludes
    accounting.py   what has happened since the last plan: failures, health, the circuit breaker, rolling back, back-off
    replica.py      what to start and stop of a service with so many tasks
    daemon.py       the same with one task an instance
    choosing.py     which tasks stop first
    limits.py       how many at least and at most, and after how many failures a deployment has failed
    health.py       which tasks count
    capacity.py     over capacity providers
    beginning.py    a new deployment takes the place of the one before
    remembering.py  what one plan leaves to the next: no place for a task, what was said already
    sentences.py    a service's events

A plan is carried out in one transaction: the tasks that it starts and stops are rows in which it is written what is wanted of them. So it happens
whole or not at all, and what has been counted is counted once. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
"""
