"""Law: a task file means what SkyPilot's fields mean, and each field's place is known."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from broker.documents.task import TaskShape, default_name, load_task
from broker.errors import DocumentError
from broker.model import AtLeast, Data, Demand, Market, Resources, Task

Files = Callable[..., Path]
Problems = Callable[..., list[str]]


def bare(resources: Resources) -> Resources:
    """Without its places."""
    return Resources(**{name: getattr(resources, name) for name in NAMES})


NAMES = tuple(name for name in Resources.__slots__ if name != "locations")


def test_the_smallest_task_runs_anywhere(a_file: Files) -> None:
    task = load_task(a_file("run: echo hello\n", "My_task v2.yaml"))
    assert task == Task(
        demand=Demand(
            name="my-task-v2",
            alternatives=(Resources(),),
            location=task.demand.location,
            locations=task.demand.locations,
        ),
        run="echo hello",
    )


def test_every_field_arrives_in_the_model(a_file: Files) -> None:
    task = load_task(
        a_file(
            """
            name: finetune
            resources:
              accelerators: A100:8
              cpus: 8+
              memory: 64
              use_spot: true
              infra: aws@lab/eu-north-1/eu-north-1a
              instance_type: p4d.24xlarge
              max_hourly_cost: 20.50
            num_nodes: 2
            setup: pip install x
            run: |
              python train.py
            envs: {A: 1.10, B: true, C: 007, D: "no", E: ''}
            workdir: code
            data: {class: PHI, datasets: [Mammography], purpose: research}
            budget: 12usd
            duration: 6h
            deadline: 1d
            keep: true
            """
        )
    )
    demand = task.demand
    assert [bare(one) for one in demand.alternatives] == [
        Resources(
            accelerator="A100",
            accelerator_count=8,
            cpus=AtLeast(8, or_more=True),
            memory_gib=AtLeast(64),
            market=Market.SPOT,
            cloud="aws@lab",
            region="eu-north-1",
            zone="eu-north-1a",
            instance_type="p4d.24xlarge",
            max_usd_per_hour=Decimal("20.5"),
        )
    ]
    assert (demand.name, demand.nodes, demand.role) == ("finetune", 2, "task")
    assert demand.data == Data("phi", ("mammography",), "research")
    assert (demand.duration_h, demand.deadline_h) == (Decimal(6), Decimal(24))
    assert demand.budget_usd == Decimal(12)
    assert task.envs == {"A": "1.10", "B": "true", "C": "007", "D": "no", "E": ""}
    assert (task.setup, task.run, task.keep) == ("pip install x", "python train.py\n", True)
    assert task.workdir == str(Path.cwd() / "code")


def test_places_are_kept_for_messages(a_file: Files) -> None:
    path = a_file("run: x\ndata: {class: phi}\nbudget: 12\nresources:\n  memory: 16+\n")
    demand = load_task(path).demand
    assert str(demand.locations["data.class"]) == "file.yaml:2:15"
    assert str(demand.locations["budget"]) == "file.yaml:3:9"
    assert str(demand.location) == "file.yaml:4:1"
    assert str(demand.alternatives[0].locations["memory"]) == "file.yaml:5:11"
    assert "duration" not in demand.locations


def test_alternatives_are_laid_over_the_common_fields(a_file: Files) -> None:
    demand = load_task(
        a_file(
            """
            run: x
            resources:
              memory: 16+
              use_spot: true
              any_of:
                - accelerators: [A100:8, {H100: 4}]
                  use_spot: false
                - {infra: edge/oslo-01, memory: 8}
            """
        )
    ).demand
    common = {"memory_gib": AtLeast(16, or_more=True), "market": Market.ON_DEMAND}
    assert [bare(one) for one in demand.alternatives] == [
        Resources(accelerator="A100", accelerator_count=8, **common),  # type: ignore[arg-type]
        Resources(accelerator="H100", accelerator_count=4, **common),  # type: ignore[arg-type]
        Resources(memory_gib=AtLeast(8), market=Market.SPOT, cloud="edge", region="oslo-01"),
    ]
    assert demand.alternatives[0].locations["memory"].line == 4
    assert demand.alternatives[2].locations["memory"].line == 9


@pytest.mark.parametrize(
    ("infra", "parts"),
    [
        ("aws", ("aws", None, None)),
        ("aws/us-east-1", ("aws", "us-east-1", None)),
        ("aws/us-east-1/us-east-1a", ("aws", "us-east-1", "us-east-1a")),
        ("aws@sandbox/eu-north-1", ("aws@sandbox", "eu-north-1", None)),
        ("local", ("local", None, None)),
        ("edge/oslo-01", ("edge", "oslo-01", None)),
        ("'*'", (None, None, None)),
        ("'*/eu-north-1'", (None, "eu-north-1", None)),
    ],
)
def test_infra_names_cloud_region_and_zone(
    a_file: Files, infra: str, parts: tuple[str | None, ...]
) -> None:
    (one,) = load_task(a_file(f"run: x\nresources: {{infra: {infra}}}\n")).demand.alternatives
    assert (one.cloud, one.region, one.zone) == parts


@pytest.mark.parametrize("infra", ["/", "AWS", "aws//z", "-x", "aws/$(id)", "a/b/c/d"])
def test_a_strange_infra_is_refused(a_file: Files, problems: Problems, infra: str) -> None:
    (found,) = problems(load_task, a_file(f"run: x\nresources: {{infra: {infra}}}\n"))
    assert found.startswith("TSK015 2:20 `resources.infra` wants cloud/region/zone")


def test_accelerators_get_the_catalogs_spelling(a_file: Files) -> None:
    path = a_file("run: x\nresources: {accelerators: [a100-80gb:2, h100]}\n")
    known = frozenset({"A100-80GB", "H100"})
    found = load_task(path, known).demand.alternatives
    assert [one.accelerator for one in found] == ["A100-80GB", "H100"]
    assert [one.accelerator for one in load_task(path).demand.alternatives] == ["a100-80gb", "h100"]


def test_an_accelerator_that_no_catalog_knows_is_impossible(
    a_file: Files, problems: Problems
) -> None:
    path = a_file("run: x\nresources: {accelerators: zzz}\n")
    (found,) = problems(load_task, path, frozenset({"H100"}))
    words = "asks for an impossible accelerator: no catalog knows `zzz`"
    assert found == f"TSK010 2:27 `resources.accelerators` {words}"


def test_alternatives_do_not_multiply_without_end(a_file: Files, problems: Problems) -> None:
    many = ", ".join(f"A{n}" for n in range(64))
    text = "run: x\nresources:\n  any_of:\n" + f"    - accelerators: [{many}]\n" * 5
    assert problems(load_task, a_file(text)) == [
        "TSK005 2:1 `resources` has 320 alternatives, at most 256 are taken"
    ]


WRONG = [
    ("run: '  '", "TSK005 1:6 `run` is empty"),
    ("num_nodes: 0", "TSK005 2:12 `num_nodes` wants a whole number above zero, found the number 0"),
    ("num_nodes: true", "TSK004 2:12 `num_nodes` wants a whole number, found true"),
    ("envs: {A: [1]}", "TSK004 2:11 `envs.A` wants text, a number, true or false, found a list"),
    ("envs: {A: null}", "TSK005 2:8 `envs.A` is empty"),
    ("envs: [A]", "TSK004 2:7 `envs` wants a mapping, found a list"),
    ("data: phi", "TSK004 2:7 `data` wants a mapping, found the text 'phi'"),
    ("resources: {any_of: {}}", "TSK004 2:21 `resources.any_of` wants a list, found a mapping"),
    ("resources: {instance_type: a b}", "TSK005 2:28 `resources.instance_type` wants letters, "),
]


@pytest.mark.parametrize(("text", "found"), WRONG)
def test_a_wrong_field_is_said_plainly(
    a_file: Files, problems: Problems, text: str, found: str
) -> None:
    alone = text.startswith(("setup", "run"))
    (said,) = problems(load_task, a_file(text if alone else f"run: x\n{text}"))
    assert said.startswith(found)


def test_an_endless_list_is_refused(a_file: Files, problems: Problems) -> None:
    words = ", ".join("x" for _ in range(501))
    (found,) = problems(load_task, a_file(f"run: x\ndata: {{datasets: [{words}]}}\n"))
    assert found.endswith("`data.datasets` wants at most 500 values, found 501")


def test_a_task_of_no_data_sets_is_one(a_file: Files) -> None:
    assert load_task(a_file("run: x\ndata: {datasets: []}\n")).demand.data == Data()


STEMS = [("finetune", "finetune"), ("9 Lives!", "n-9-lives"), ("ÄÖ", "n"), ("a" * 99, "a" * 41)]


@pytest.mark.parametrize(("stem", "name"), STEMS)
def test_a_name_comes_from_the_file(stem: str, name: str) -> None:
    assert default_name(Path(f"{stem}.yaml")) == name


def test_a_problem_of_the_text_and_of_the_shape_are_told_together(
    a_file: Files, problems: Problems
) -> None:
    path = a_file("run: x\nrun: y\nrnu: z\n")
    assert [one[:10] for one in problems(load_task, path)] == ["DOC012 2:1", "TSK002 3:1"]


def test_the_error_leads_with_the_first_problem(a_file: Files) -> None:
    with pytest.raises(DocumentError) as caught:
        load_task(a_file("rnu: x\n"))
    assert caught.value.exit_code == 2
    assert caught.value.code == "TSK002"
    assert caught.value.hint == "did you mean `run`?"


def test_the_shape_has_a_schema_that_names_the_files_fields() -> None:
    schema = TaskShape.model_json_schema()
    assert schema["additionalProperties"] is False
    assert "class" in schema["$defs"]["TaskDataShape"]["properties"]
