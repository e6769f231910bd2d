"""The experiment's users, for locust (PyPI): each calls, waits for the answer, and calls again.

    locust -f tests/load/locustfile.py --headless --users 10 --spawn-rate 10 \
        --host http://localhost:31113 --invocations 2000

`--entries` names several sidecars, of which each invocation takes one by chance. The header
`bed-number` has the gateways of bench/testbed draw the same demands as for its own users.
"""

import itertools
import random

import gevent
from locust import FastHttpUser, constant, events, task
from locust.exception import StopUser


@events.init_command_line_parser.add_listener
def options(parser):
    parser.add_argument("--function", default="basic", help="what is called")
    parser.add_argument("--entries", nargs="*", default=[], help="sidecars, in place of --host")
    parser.add_argument("--invocations", type=int, default=0, help="ends after so many; 0: never")


class ExperimentUser(FastHttpUser):
    """A closed loop without pauses."""

    wait_time = constant(0)
    # Numbers are everybody's: who comes next takes the next.
    numbers = itertools.count()

    @task
    def invoke(self):
        wanted = self.environment.parsed_options
        number = next(self.numbers)
        if wanted.invocations and number >= wanted.invocations:
            if number == wanted.invocations:
                # Whoever still waits for an answer gets it, within --stop-timeout. Not from here:
                # this user is among those who are ended.
                gevent.spawn(self.environment.runner.quit)
            raise StopUser
        entry = random.choice(wanted.entries or [self.host])
        self.client.post(f"{entry.rstrip('/')}/function/{wanted.function}", data="{}",
                         headers={"bed-number": str(number)}, name=wanted.function)
