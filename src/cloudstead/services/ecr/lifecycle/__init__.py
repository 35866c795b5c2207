"""Lifecycle policies: which images of a repository expire or go to the archive, by themselves.

    policy.py     what a policy's document says, and what is refused of it
    plan.py       which images it takes: a pure function of rules, images and time
    content.py    the images of a repository as the plan sees them
    running.py    carries plans out and makes previews

https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html
"""
