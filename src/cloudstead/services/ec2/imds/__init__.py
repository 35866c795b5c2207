"""What an instance is told of itself at 169.254.169.254: the Instance Metadata Service, versions 1 and 2.

    model       instances as the service describes them
    tree        from those to what stands at each path; pure
    tokens      the sessions of version 2
    endpoint    the requests

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
"""
