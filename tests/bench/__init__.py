"""`make bench`: what the exporter costs, measured beside the tools that it is compared with, in one run.

What is compared is processor time (user and system, of the whole tree of processes), which other work on the machine
disturbs little; times of answers are only as good as the machine is quiet, and the report says how busy it was.
"""
