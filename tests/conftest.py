import pytest


def pytest_collection_modifyitems(config, items):
    """Every suite but `bootstraps` drives the real binary."""
    from pathlib import Path

    own = Path(__file__).parent / "bootstraps"
    driving = [item for item in items if own not in item.path.parents]
    if not driving:
        return
    from blackbox.server import binary

    if binary() is None:
        pytest.exit("no tinderbox binary: build it or set TINDERBOX_BIN", returncode=3)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all tests that neither restart it nor load it; ends with SIGTERM."""
    from blackbox.server import Server

    running = Server(tmp_path_factory.mktemp("tinderbox") / "data").start()
    yield running
    try:
        running.stop()
    finally:
        running.end()


@pytest.fixture
def new_server(tmp_path):
    """new_server(*arguments, env=…): a server of the test's own, not yet started twice."""
    from blackbox.server import Server

    made = []

    def make(*arguments, env=None, name="data"):
        made.append(Server(tmp_path / name, *arguments, env=env))
        return made[-1].start()

    yield make
    for server in made:
        server.end()


@pytest.fixture
def deploy(server):
    """deploy(zip, runtime, handler, **fields): a Function on the shared server, deleted after the test."""
    from blackbox.functions import Function

    made = []

    def make(zip_bytes, *arguments, **fields):
        made.append(Function(server, zip_bytes, *arguments, **fields))
        return made[-1]

    yield make
    for function in made:
        function.delete()


@pytest.fixture
def capacity(server):
    """capacity(slots, **fields): what a function gives to be on a capacity provider of the test's own; call it before deploy."""
    from blackbox.functions import unique
    from blackbox.server import ROLE

    client = server.client("lambda")
    made = client.create_capacity_provider(
        CapacityProviderName=unique("capacity"),
        VpcConfig={"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        PermissionsConfig={"CapacityProviderOperatorRoleArn": ROLE},
    )["CapacityProvider"]

    def fields(slots, **more):
        config = {"CapacityProviderArn": made["CapacityProviderArn"], "PerExecutionEnvironmentMaxConcurrency": slots}
        return {"CapacityProviderConfig": {"LambdaManagedInstancesCapacityProviderConfig": config}, **more}

    return fields


@pytest.fixture
def lambda_client(server):
    return server.client("lambda")


@pytest.fixture
def logs_client(server):
    return server.client("logs")
