"""Where a task goes. Pure: a table of container instances, a task's needs, constraints and strategies go in; instances, or the reasons why none will do, come out.

    fleet.py        the container instances of a cluster and what is left of each, kept up to date by what changes
    needs.py        what a task asks of an instance, and whether it gets it
    ports.py        which host ports a task gets
    language.py     the cluster query language: its text as a tree
    conditions.py   the tree, asked about an instance
    patterns.py     regular expressions that take no longer than their text
    strategies.py   in which order instances come into question
    view.py         that order kept sorted for one kind of task
    placing.py      places tasks, or explains
    subnets.py      Fargate: over subnets and availability zones

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement.html
"""
