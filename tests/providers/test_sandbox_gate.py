"""The gate behaves as EC2 does where the emulator behind it does not. Bare boto3 throughout."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from broker.sandbox.faults import Faults
from broker.sandbox.starter import Sandbox
from providers import machines
from tests.providers.conformance import until
from tests.stands import ec2

REGION = "eu-west-1"


class World:
    """One test's instances, told apart by an owner tag."""

    def __init__(self, sandbox: Sandbox, owner: str) -> None:
        self.sandbox = sandbox
        self.owner = owner
        self.ec2 = ec2.client(sandbox, REGION)
        images = self.ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])
        self.image = images["Images"][0]["ImageId"]

    def run(self, token: str | None = None, client: Any = None, **changes: Any) -> str:
        reply = (client or self.ec2).run_instances(**{**self.request(token), **changes})
        return str(reply["Instances"][0]["InstanceId"])

    def request(self, token: str | None) -> dict[str, Any]:
        named = {"ClientToken": f"{self.owner}-{token}"} if token else {}
        return named | {
            "ImageId": self.image,
            "InstanceType": "c6i.large",
            "MinCount": 1,
            "MaxCount": 1,
            "UserData": "exec sleep 1000",
            "TagSpecifications": [
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": "fedbroker:owner", "Value": self.owner}],
                }
            ],
        }

    def living(self) -> set[str]:
        held = ec2.inventory(self.sandbox, self.owner, REGION)
        assert all(item.runs == item.listed_alive for item in held), "the list and the truth differ"
        return {item.id.rpartition("/")[2] for item in held if item.runs}

    def state(self, instance_id: str) -> str:
        reply = self.ec2.describe_instances(InstanceIds=[instance_id])
        return str(reply["Reservations"][0]["Instances"][0]["State"]["Name"])


@pytest.fixture
def world(sandbox: Sandbox, owner: str) -> Iterator[World]:
    made = World(sandbox, owner)
    yield made
    sandbox.control(lag=0, fail=[])
    if left := made.living():
        made.ec2.terminate_instances(InstanceIds=sorted(left))


def refusal(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_one_token_thirty_times_at_once_is_one_instance(world: World) -> None:
    with ThreadPoolExecutor(30) as pool:
        ids = set(pool.map(lambda _: world.run("t"), range(30)))
    assert world.living() == ids
    assert len(ids) == 1


def test_control_each_token_has_its_own_instance(world: World) -> None:
    made = {world.run("a"), world.run("b"), world.run()}
    assert len(made) == 3
    assert world.living() == made


def test_a_token_with_another_request_is_a_mismatch(world: World) -> None:
    first = world.run("t")
    with pytest.raises(ClientError) as error:
        world.run("t", InstanceType="c6i.xlarge")
    assert refusal(error) == ("IdempotentParameterMismatch", 400)
    assert world.living() == {first}


def test_a_token_belongs_to_a_region(world: World) -> None:
    here = world.run("t")
    other = ec2.client(world.sandbox, "eu-west-2")
    image = other.describe_images()["Images"][0]["ImageId"]
    there = world.run("t", client=other, ImageId=image)
    assert here != there
    other.terminate_instances(InstanceIds=[there])


def test_a_replay_after_the_end_says_terminated(world: World) -> None:
    first = world.run("t")
    world.ec2.terminate_instances(InstanceIds=[first])
    again = world.ec2.run_instances(**world.request("t"))["Instances"][0]
    assert (again["InstanceId"], again["State"]["Name"]) == (first, "terminated")


@pytest.mark.parametrize(
    ("capacity", "room"),
    [
        ({"c6i.large@eu-west-1a": 1}, 1),
        ({"c6i.large@*": 1}, 1),
        ({"c6i.large@*": 0}, 0),
        ({"c6i.large@eu-west-1a": 2, "c6i.large@*": 1}, 1),
    ],
)
def test_capacity_is_how_many_may_live(world: World, capacity: dict[str, int], room: int) -> None:
    world.sandbox.control(capacity=capacity)
    made = [world.run() for _ in range(room)]
    sold_out = ec2.client(world.sandbox, REGION)
    with pytest.raises(ClientError) as error:
        world.run(client=sold_out)
    assert refusal(error) == ("InsufficientInstanceCapacity", 500)
    assert world.living() == set(made)
    if made:
        world.ec2.terminate_instances(InstanceIds=made[:1])
        assert world.run()  # the place is free again


def test_capacity_of_one_zone_says_nothing_about_another(world: World) -> None:
    world.sandbox.control(capacity={"c6i.large@eu-west-1a": 0})
    assert world.run(Placement={"AvailabilityZone": "eu-west-1b"})


def test_room_is_bounded_by_every_limit_that_applies() -> None:
    faults = Faults(capacity={"a@z1": 2, "a@*": 3, "*": 4})
    assert faults.room("a", "z1", [("a", "z1")])
    assert not faults.room("a", "z1", [("a", "z1")] * 2)
    assert not faults.room("a", "z2", [("a", "z1")] * 3)
    assert not faults.room("b", "z1", [("b", "z1")] * 4)
    assert Faults().room("a", "z1", [("a", "z1")] * 100)


def test_a_dropped_reply_is_asked_for_again_by_the_sdk_and_is_one_instance(world: World) -> None:
    world.sandbox.control(drop=1)
    made = world.run("t")
    assert world.living() == {made}


def test_a_new_instance_is_invisible_for_the_lag(world: World) -> None:
    world.sandbox.control(lag=60)
    hidden = world.run()
    assert world.living() == set()
    for call in (world.ec2.describe_instances, world.ec2.terminate_instances):
        with pytest.raises(ClientError) as error:
            call(InstanceIds=[hidden])
        assert refusal(error) == ("InvalidInstanceID.NotFound", 400)
    world.sandbox.control(lag=0)
    assert world.living() == {hidden}


def test_terminate_kills_the_process(world: World) -> None:
    made = world.run()
    folder = world.sandbox.machine(made)
    assert machines.alive(folder)
    world.ec2.terminate_instances(InstanceIds=[made])
    assert not machines.alive(folder)
    assert world.state(made) == "terminated"


def test_a_machine_that_shuts_itself_down_becomes_terminated(world: World) -> None:
    made = world.run(UserData="exit 0")
    until(lambda: world.state(made) == "terminated")
    found = world.ec2.describe_instances(InstanceIds=[made])["Reservations"][0]["Instances"][0]
    assert found["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_an_instance_without_user_data_just_runs(world: World) -> None:
    made = world.run(UserData="")
    assert world.living() == {made}


def test_user_data_that_is_not_text_is_refused(world: World) -> None:
    with pytest.raises(ClientError) as error:
        world.run(UserData=b"\xff\xfe")
    assert refusal(error)[0] == "InvalidUserData.Malformed"


@pytest.mark.parametrize("change", [{"InstanceType": "zz9.giant"}, {"ImageId": "ami-00000000"}])
def test_what_aws_does_not_have_cannot_be_launched(world: World, change: dict[str, str]) -> None:
    with pytest.raises(ClientError):
        world.run(**change)
    assert world.living() == set()


def test_calls_that_would_make_instances_without_machines_are_refused(world: World) -> None:
    with pytest.raises(ClientError) as error:
        world.ec2.request_spot_instances(InstanceCount=1)
    assert refusal(error) == ("UnsupportedOperation", 400)


def test_an_independent_client_understands_its_replies(world: World) -> None:
    """libcloud looks for the namespace exactly as AWS writes it."""
    libcloud = pytest.importorskip("libcloud.compute.drivers.ec2")
    made = world.run()
    host, _, port = world.sandbox.endpoint.removeprefix("http://").partition(":")
    driver = libcloud.EC2NodeDriver(
        "x", "x", region=REGION, host=host, port=int(port), secure=False, signature_version="4"
    )
    nodes = driver.list_nodes(ex_filters={"tag:fedbroker:owner": world.owner})
    assert [node.id for node in nodes] == [made]
    assert driver.destroy_node(nodes[0])
    assert world.living() == set()
