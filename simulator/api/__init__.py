"""The Kubernetes API of the simulated cluster, over real HTTP.

It answers what this project's programs, the official Python client and `kubectl` ask of an API server. It is not a
validator: fields that no caller here reads are stored as they come, and admission, quotas and RBAC do not exist
(a fault rule plays a missing permission).
"""
