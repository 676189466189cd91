"""A sweep in the formats of other tools, after it has ended or while it runs.

All of them are projections of the ledger, made by a reader: nothing here can slow down or break a sweep.
"""
