"""A function of CloudEvents, served by Google's functions-framework."""

import functions_framework
from cloudevents.http import CloudEvent


@functions_framework.cloud_event
def main(event: CloudEvent) -> None:
    assert event["type"] == "org.example.order" and event.data == {"n": 1}
