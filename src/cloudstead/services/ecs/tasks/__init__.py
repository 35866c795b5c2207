"""Tasks as they run: what RunTask writes down becomes containers.

model         the row of a task: what is wanted, and how it is
plan          what to do next; pure
controller    looks at rows and the engine, plans, acts
preparing     what must be there before containers: interface, images, values, log streams
output        awslogs: what containers write, to CloudWatch Logs
link_local    169.254.170.2 in the networks of tasks
changing      every change of a row, with its version and event
describing    a task as AWS tells it
"""
