"""How `aws` asks: one call that is never repeated, tagged, with the right zone and image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from broker.errors import (
    AuthError,
    NotFoundError,
    RequestError,
    UnknownOutcomeError,
    UsageError,
)
from broker.model import Instance, InstanceState, Market, Offer
from broker.sandbox.starter import Sandbox
from providers.aws import Aws, Launch, run_request
from providers.aws_session import AwsSettings
from tests.providers.conformance import until
from tests.stands import ec2

REGIONS = ("us-east-1", "eu-central-1")
SPOT = Offer("aws", "us-east-1", "us-east-1b", "c6i.large", Market.SPOT, 2, 4)
SCRIPT = "exec sleep 1000"


@pytest.fixture
def make(sandbox: Sandbox, owner: str) -> Callable[..., Aws]:
    def build(**changes: Any) -> Aws:
        settings = AwsSettings.of(sandbox.settings("aws", REGIONS, owner))
        return Aws(replace(settings, **changes))

    return build


@pytest.fixture
def launch(make: Callable[..., Aws], owner: str) -> Any:
    """Launch with a token of this test; end it all afterwards."""
    aws = make()
    tokens = iter(range(1000))

    def go(offer: Offer = SPOT, token: str = "", cloud: Aws = aws) -> Instance:
        return cloud.launch(offer, token or f"{owner}-{next(tokens)}", "ls_1", SCRIPT)

    yield go
    for item in aws.instances():
        if item.state is not InstanceState.GONE:
            aws.terminate(item.id)


def raw(sandbox: Sandbox, made: Instance) -> dict[str, Any]:
    region, _, bare = made.id.partition("/")
    reply = ec2.client(sandbox, region).describe_instances(InstanceIds=[bare])
    found: dict[str, Any] = reply["Reservations"][0]["Instances"][0]
    return found


def tags_of(item: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item["Tags"]}


def test_the_request_is_the_same_for_the_same_launch_and_complete() -> None:
    wanted = Launch(SPOT, "at_1", "ls_1", SCRIPT, "us-east-1b", "ami-1")
    request = run_request(wanted, "me")
    assert request == run_request(wanted, "me")
    assert (request["ClientToken"], request["MinCount"], request["MaxCount"]) == ("at_1", 1, 1)
    assert request["InstanceMarketOptions"]["SpotOptions"] == {
        "SpotInstanceType": "one-time",
        "InstanceInterruptionBehavior": "terminate",
    }
    assert request["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert request["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert {spec["ResourceType"] for spec in request["TagSpecifications"]} == {
        "instance",
        "volume",
    }


def test_an_on_demand_launch_asks_for_no_market_and_no_zone_where_none_is_given() -> None:
    offer = replace(SPOT, market=Market.ON_DEMAND, zone=None)
    request = run_request(Launch(offer, "at_1", "ls_1", SCRIPT, None, "ami-1"), "me")
    assert "InstanceMarketOptions" not in request
    assert "Placement" not in request


def test_instance_and_volume_are_tagged_in_the_call_that_makes_them(
    sandbox: Sandbox, launch: Callable[..., Instance], owner: str
) -> None:
    made = launch(token=f"{owner}-x")
    item = raw(sandbox, made)
    volume = item["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    volumes = ec2.client(sandbox, "us-east-1").describe_volumes(VolumeIds=[volume])
    for tagged in (item, volumes["Volumes"][0]):
        assert tags_of(tagged) == {
            "Name": "fedbroker-ls_1",
            "fedbroker:owner": owner,
            "fedbroker:lease": "ls_1",
            "fedbroker:attempt": f"{owner}-x",
        }


def test_it_lands_in_the_zone_on_the_market_and_with_guarded_metadata(
    sandbox: Sandbox, launch: Callable[..., Instance]
) -> None:
    item = raw(sandbox, launch())
    assert item["Placement"]["AvailabilityZone"] == "us-east-1b"
    assert item["InstanceLifecycle"] == "spot"
    assert item["InstanceType"] == "c6i.large"
    assert item["MetadataOptions"]["HttpTokens"] == "required"
    assert "InstanceLifecycle" not in raw(sandbox, launch(replace(SPOT, market=Market.ON_DEMAND)))


def test_a_zone_named_by_its_id_is_the_zone_of_that_id(
    sandbox: Sandbox, launch: Callable[..., Instance]
) -> None:
    zones = ec2.client(sandbox, "eu-central-1").describe_availability_zones()["AvailabilityZones"]
    for zone in zones[:2]:
        offer = replace(SPOT, region="eu-central-1", zone=zone["ZoneId"])
        assert raw(sandbox, launch(offer))["Placement"]["AvailabilityZone"] == zone["ZoneName"]


def test_a_zone_that_the_account_does_not_have_is_refused(launch: Callable[..., Instance]) -> None:
    with pytest.raises(RequestError, match="use1-az99"):
        launch(replace(SPOT, zone="use1-az99"))


@pytest.mark.parametrize(
    ("shape", "arch"), [("c6i.large", "x86_64"), ("c7g.large", "arm64"), ("g5.xlarge", "x86_64")]
)
def test_the_image_is_the_public_one_for_the_architecture(
    sandbox: Sandbox, launch: Callable[..., Instance], shape: str, arch: str
) -> None:
    """For a GPU shape too: the emulator has no deep-learning image, so the plain one stands in."""
    name = f"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{arch}"
    ssm = ec2.client(sandbox, "us-east-1", "ssm")
    expected = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    assert raw(sandbox, launch(replace(SPOT, instance_type=shape)))["ImageId"] == expected


def test_a_gpu_shape_gets_the_deep_learning_image_where_there_is_one(
    sandbox: Sandbox, launch: Callable[..., Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under another name, since nobody but AWS can write below /aws."""
    image = ec2.client(sandbox, "us-east-1").describe_images()["Images"][1]["ImageId"]
    ssm = ec2.client(sandbox, "us-east-1", "ssm")
    ssm.put_parameter(Name="/gpu/x86_64/id", Value=image, Type="String", Overwrite=True)
    monkeypatch.setattr("providers.aws_images.GPU_IMAGE", "/gpu/{arch}/id")
    assert raw(sandbox, launch(replace(SPOT, instance_type="g5.xlarge")))["ImageId"] == image
    assert raw(sandbox, launch(SPOT))["ImageId"] != image  # the control: no GPU


def test_a_configured_image_is_taken_as_it_is_or_read_from_its_parameter(
    sandbox: Sandbox, make: Callable[..., Aws], launch: Callable[..., Instance]
) -> None:
    images = ec2.client(sandbox, "us-east-1").describe_images()["Images"]
    image = images[0]["ImageId"]
    assert raw(sandbox, launch(cloud=make(image=image)))["ImageId"] == image
    ssm = ec2.client(sandbox, "us-east-1", "ssm")
    ssm.put_parameter(Name="/mine/image", Value=image, Type="String", Overwrite=True)
    assert raw(sandbox, launch(cloud=make(image="/mine/image")))["ImageId"] == image
    with pytest.raises(RequestError, match="/mine/nothing"):
        launch(cloud=make(image="/mine/nothing"))


@pytest.mark.parametrize(
    "change",
    [
        {"instance_type": "zz9.giant"},
        {"region": "ap-south-1", "zone": None},
        {"market": Market.OWNED},
    ],
)
def test_a_request_that_cannot_be_is_definite(
    launch: Callable[..., Instance], change: dict[str, Any]
) -> None:
    with pytest.raises(RequestError):
        launch(replace(SPOT, **change))


@pytest.mark.parametrize("token", ["", "x" * 65, "tökén"])
def test_what_cannot_be_a_client_token_is_refused(make: Callable[..., Aws], token: str) -> None:
    with pytest.raises(RequestError):
        make().launch(SPOT, token, "ls_1", SCRIPT)


def test_an_image_that_does_not_exist_is_refused(
    make: Callable[..., Aws], launch: Callable[..., Instance]
) -> None:
    with pytest.raises(RequestError, match="InvalidAMIID"):
        launch(cloud=make(image="ami-0123456789abcdef0"))


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "InternalError"])
def test_a_launch_is_sent_once_and_what_is_not_definite_is_unknown(
    sandbox: Sandbox, launch: Callable[..., Instance], owner: str, code: str
) -> None:
    """One failure is enough: had the SDK tried again, the second try would have succeeded."""
    sandbox.control(fail=[{"action": "RunInstances", "code": code, "status": 503}])
    with pytest.raises(UnknownOutcomeError, match=code):
        launch(token=f"{owner}-t")
    assert ec2.inventory(sandbox, owner, *REGIONS) == []
    assert launch(token=f"{owner}-t").attempt_id == f"{owner}-t"


def test_control_a_listing_is_sent_again(
    sandbox: Sandbox, make: Callable[..., Aws], launch: Callable[..., Instance]
) -> None:
    made = launch()
    fault = {"action": "DescribeInstances", "code": "RequestLimitExceeded", "status": 503}
    sandbox.control(fail=[fault])
    assert [item.id for item in make().instances()] == [made.id]


def test_a_reply_cut_in_half_is_unknown_and_the_token_finds_the_machine(
    sandbox: Sandbox, launch: Callable[..., Instance], owner: str
) -> None:
    sandbox.control(cut=1)
    with pytest.raises(UnknownOutcomeError, match="ResponseParserError"):
        launch(token=f"{owner}-c")
    held = ec2.inventory(sandbox, owner, *REGIONS)
    assert [item.id for item in held] == [launch(token=f"{owner}-c").id]


def test_a_definite_refusal_after_a_lost_reply_is_answered_by_the_token_first(
    sandbox: Sandbox, launch: Callable[..., Instance], owner: str
) -> None:
    """Sold out since, but this token has its machine already."""
    sandbox.control(drop=1)
    with pytest.raises(UnknownOutcomeError):
        launch(token=f"{owner}-d")
    sandbox.control(capacity={"*": 0})
    assert launch(token=f"{owner}-d").attempt_id == f"{owner}-d"


def test_a_machine_that_describe_does_not_show_yet_is_found_by_its_token_alone(
    sandbox: Sandbox, make: Callable[..., Aws], launch: Callable[..., Instance], owner: str
) -> None:
    sandbox.control(lag=60)
    made = launch(token=f"{owner}-l")
    assert make().instances() == []
    with pytest.raises(NotFoundError):
        make().terminate(made.id)
    assert launch(token=f"{owner}-l").id == made.id
    sandbox.control(lag=0)
    assert [item.id for item in make().instances()] == [made.id]


def test_machines_of_all_regions_are_listed_over_many_pages(
    make: Callable[..., Aws], launch: Callable[..., Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.aws.PAGE", 5)  # the least that EC2 allows
    made = {launch().id for _ in range(6)}
    made.add(launch(replace(SPOT, region="eu-central-1", zone=None)).id)
    assert {item.id for item in make().instances()} == made
    assert {item.region for item in make().instances()} == set(REGIONS)


def test_a_spot_interruption_shows_as_gone_with_awss_words(
    sandbox: Sandbox, make: Callable[..., Aws], launch: Callable[..., Instance]
) -> None:
    made = launch()
    sandbox.interrupt(made.id)
    (shown,) = make().instances()
    assert shown.state is InstanceState.GONE
    assert "Server.SpotInstanceTermination" in shown.reason


def test_a_region_that_is_not_ours_is_not_found(make: Callable[..., Aws]) -> None:
    with pytest.raises(NotFoundError):
        make().terminate("ap-south-1/i-0123456789abcdef0")


def test_without_credentials_it_is_an_auth_error(
    make: Callable[..., Aws], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    aws = make(profile=None, credentials_file=str(tmp_path / "none"))
    with pytest.raises(AuthError):
        aws.instances()
    with pytest.raises(AuthError):
        aws.launch(SPOT, "at_1", "ls_1", SCRIPT)
    with pytest.raises(AuthError, match="nobody"):
        make(profile="nobody").instances()


def test_a_proxy_of_the_environment_does_not_come_between_it_and_a_loopback_endpoint(
    make: Callable[..., Aws], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert make().instances() == []


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="regionz"):
        AwsSettings.of({"name": "aws", "regions": ["us-east-1"], "owner": "me", "regionz": []})
    with pytest.raises(UsageError, match="owner"):
        AwsSettings.of({"name": "aws", "regions": ["us-east-1"]})
    with pytest.raises(UsageError, match="no regions"):
        AwsSettings.of({"name": "aws", "regions": [], "owner": "me"})


def test_launched_machines_come_to_run(
    make: Callable[..., Aws], launch: Callable[..., Instance]
) -> None:
    launch()
    until(lambda: [item.state for item in make().instances()] == [InstanceState.RUNNING])


def test_reserved_capacity_is_asked_for_by_its_id() -> None:
    reserved = replace(SPOT, market=Market.RESERVED, reservation="cr-0123")
    request = run_request(Launch(reserved, "t", "ls_1", SCRIPT, None, "ami-1"), "own")
    target = request["CapacityReservationSpecification"]["CapacityReservationTarget"]
    assert target == {"CapacityReservationId": "cr-0123"}
    assert "InstanceMarketOptions" not in request


def test_without_a_reservation_none_is_named() -> None:
    request = run_request(Launch(SPOT, "t", "ls_1", SCRIPT, None, "ami-1"), "own")
    assert "CapacityReservationSpecification" not in request
