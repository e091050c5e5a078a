"""A real Prometheus and a real Alertmanager as processes on loopback, fed from the files that ship in `alerts/`.

So that the demo, the tests of the loop and its measurement all run what people run: only addresses and credentials of
receivers are replaced (`files.aimed`), and all waits may be shortened by one factor (`files.shortened`). Where the
programs cannot be had, `find_programs` says why, and whoever asked has to do without.

Not promised: data that outlives the folder, more than two Alertmanagers, any system but Linux.
"""

from simulator.monitoring.files import Targets, shortened
from simulator.monitoring.process import MonitoringError
from simulator.monitoring.programs import Programs, ProgramsError, find_programs
from simulator.monitoring.receivers import Heard, Receivers
from simulator.monitoring.service import Alert, Monitoring, free_port

__all__ = [
    "Alert",
    "Heard",
    "Monitoring",
    "MonitoringError",
    "Programs",
    "ProgramsError",
    "Receivers",
    "Targets",
    "find_programs",
    "free_port",
    "shortened",
]
