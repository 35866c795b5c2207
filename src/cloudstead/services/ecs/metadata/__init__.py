"""What a task is told of itself at 169.254.170.2.

    model       tasks and containers as the endpoint describes them
    documents   from those to the documents of versions 2, 3 and 4; pure
    stats       the containers' use of resources, as Docker's API tells it
    endpoint    the requests

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4.html
"""
