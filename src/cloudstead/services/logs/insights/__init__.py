"""Logs Insights: queries over log groups, in a small part of AWS's language.

    language.py   text -> Query; Malformed says where it is not understood
    values.py     how values compare, and the functions
    stages.py     rows through commands: filter, fields, parse, stats, sort, limit, dedup
    worker.py     the process in which a query runs, so that neither its CPU nor its regular expressions hold up the daemon
    pool.py       the queries that run and have run

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""
