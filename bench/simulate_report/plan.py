"""What is run: scenarios with policies, and charts."""

from dataclasses import dataclass

ARCHITECTURES = ["decentralized", "federated", "centralized"]
SELECTIONS = ["weighted", "predictive", "least_request", "peak_ewma", "random"]

CLAIRVOYANT = "clairvoyant"
REFERENCE = "reference-dynamic"
ADAPTIVE = "dynamic-adaptive+predictive"
DOCUMENTED = "dynamic-tail_ratio+weighted"


def fixed(selection):
    """The three architectures that do not change, with this way to select."""
    return [f"{architecture}+{selection}" for architecture in ARCHITECTURES]


def adaptive(selection):
    return f"dynamic-adaptive+{selection}"


def all_with(selection):
    return [*fixed(selection), f"dynamic-tail_ratio+{selection}", adaptive(selection)]


#: What every scenario is run with.
USUAL = [CLAIRVOYANT, REFERENCE, *all_with("predictive"), *all_with("weighted")]
#: Where one trial is long.
FEW = [CLAIRVOYANT, REFERENCE, *fixed("predictive"), ADAPTIVE]


def with_extra(extra):
    """Policies as they are, and with something that is switched off by default."""
    policies = [*fixed("predictive"), ADAPTIVE]
    return [CLAIRVOYANT, REFERENCE, *policies, *[f"{policy}+{extra}" for policy in policies]]


#: Everything there is, without extras.
EVERY = [
    CLAIRVOYANT,
    *[f"reference-{mode}" for mode in [*ARCHITECTURES, "dynamic"]],
    *[policy for selection in SELECTIONS for policy in all_with(selection)],
]


@dataclass(frozen=True)
class Study:
    """One scenario with those of its trials that are run."""

    scenario: str
    policies: tuple
    filter: tuple = ()


FULL = [
    Study("testbed", tuple(EVERY)),
    Study("fleet-41", tuple(EVERY)),
    Study("churn", tuple(USUAL)),
    Study("faults", tuple(USUAL)),
    Study("two-functions", tuple(USUAL)),
    Study("cold-starts", tuple(USUAL)),
    Study("steps", tuple(USUAL)),
    Study("stalls", tuple(with_extra("hedge"))),
    Study("deadlines", tuple(with_extra("queue"))),
    Study("fleet-1000", tuple(FEW)),
]

QUICK = [
    Study("testbed", tuple(FEW), filter=("--concurrency", "10", "--concurrency", "30")),
    Study("churn", tuple(FEW)),
    Study("steps", tuple(FEW)),
]

CHARTED = (
    CLAIRVOYANT,
    REFERENCE,
    DOCUMENTED,
    "decentralized+predictive",
    "federated+predictive",
    "centralized+predictive",
    ADAPTIVE,
)


@dataclass(frozen=True)
class Chart:
    """P50, P95 and their ratio over the load."""

    file: str
    scenario: str
    filter: tuple
    policies: tuple = CHARTED


CHARTS = [
    Chart(
        "testbed-steady.svg", "testbed", ("--cell", "steady", "--entry", "distributed")
    ),
    Chart(
        "testbed-antagonist.svg", "testbed", ("--cell", "antagonist", "--entry", "distributed")
    ),
    Chart("fleet-41.svg", "fleet-41", ()),
]
