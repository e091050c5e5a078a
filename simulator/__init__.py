"""A Cloud Foundry foundation that runs on loopback: for the demo, and as the double that tests talk to.

It speaks real protocols on 127.0.0.0/8: the Kubernetes API over HTTP, BBS over mTLS, Locket over gRPC, PostgreSQL's
first answer. Nothing here knows what the product makes of it.

For authors of tests
====================

In the test's own process::

    from tests.support.simulated import eventually, quick, simulated

    with simulated("cfee-2") as cluster:                     # closed to the last thread afterwards
        folder = cluster.write(tmp_path)                     # kubeconfig, client certificate, exporter.yml
        cluster.start_incident("locket_hung")                # on the ports when this returns
        cluster.afflict("diego-api-0", {"bbs": "wedged"})    # one pod alone; {"bbs": "well"} mends it
        cluster.heal_incident("locket_hung")
        cluster.api.change_faults({"mode": "down"})
        cluster.api.journal.entries()                        # what clients changed, or tried to
        cluster.store, cluster.site().foundation             # the truth, to compare with

As a process of its own::

    stager-demo --json --speed 30 --grace 2 --no-traffic --journal requests.jsonl

prints one line of JSON when everything listens (`kubernetes`, `control`, `kubeconfig`, `exporter_yml`, `foundations`)
and runs until SIGTERM. `quick()` and `--speed` shorten all that takes a foundation time: `simulator.clock.Timing`.

The control address (`control`, below `/simulator`) answers whatever the API server suffers:

========  =====================================  ====================================================================
GET       /simulator                             everything: pods, ports, incidents on, faults, failed pushes
POST      /simulator/foundations/F/incidents/I   start incident I; DELETE heals it (`simulator.incidents.INCIDENTS`)
POST      /simulator/foundations/F/pods/P        break or mend one pod: `{"bbs": "stuck" | "wedged" | "exit" | "well",
                                                 "locket": "wedged" | "well", "label": "frozen" | "true" | "false" |
                                                 "well"}` (`simulator.incidents.afflict`)
POST      /simulator/foundations/F/pods/P/push   have a user push to api pod P now
POST      /simulator/faults                      throw switches, see below
GET       /simulator/requests                    the journal: requests that change something; `?all`: every request;
                                                 `?after=N`: those with a higher number (`simulator.api.journal.Entry`)
GET       /simulator/kubeconfig?identity=NAME    a kubeconfig (JSON) whose requests carry NAME as bearer token
========  =====================================  ====================================================================

Faults (a JSON object; fields left out stay as they are): `mode` ok, down (refused, the open ones reset) or frozen
(accepted, never answered); `delay` seconds for every answer; `clock_skew` of the `Date` header; `compact: true` forgets
history (watches and old pages get 410); `drop_streams: true` resets connections; `seed`; `rules`, of which the first
that catches a request decides (`simulator.api.faults.Rule`)::

    {"verb": "delete", "resource": "pods", "hold": true, "times": 1}    held until the rules change, then carried out
    {"verb": "update", "path": "/configmaps/", "lost": true}            carried out, no answer
    {"verb": "create", "hang_up": true, "delay": 2}                     connection reset now, carried out in 2 s
    {"resource": "remediations/status", "status": 409, "chance": 0.2}   one in five, repeatable with `seed`
    {"verb": "list", "status": 500, "skip": 2, "times": 1}              the third alone
    {"identity": "replica-1", "delay": 5}                               one client alone is slow
    {"verb": "delete", "resource": "pods", "status": 403}               no permission; access reviews say so too

Clients are told apart by bearer token: give each replica a kubeconfig of its own (`cluster.kubeconfig("replica-1")`).

Remediations are served because their CustomResourceDefinition, the chart's own, is there from the start; without it:
`Options(remediations=False)` or `--no-crd`. Its schema (pruning, defaults, 422) and printer columns are followed as far
as `simulator.api.custom` says.

Pods behave as their StatefulSet has it: order (OrderedReady on SCF's diego-api), scaling, rolling update with
partition, deletion with the set unless orphaned. A well process ends within seconds of TERM; a wedged one, or a BBS in
its first Lock call, uses up the termination grace. Not simulated: RBAC (but rule 403), quotas, PodDisruptionBudgets,
nodes, cells and running apps; a Lock table with more than the lock of BBS.
"""
