"""Logs Insights: queries over log groups, in a small part of AWS's language.

    language.py     text -> Query (syntax.py) by way of words (tokens.py); Malformed says where it is not understood
    values.py       how values compare, and the functions
    rows.py         rows, and expressions as functions of a row
    stages.py       rows through commands: filter, fields, parse, stats (aggregates.py), sort, limit, dedup
    worker.py       the process in which a query runs, so that neither its CPU nor its regular expressions hold up the daemon
    pool.py         the queries that run and have run

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""
