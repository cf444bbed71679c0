"""Law: the configuration is what its file says, changes keep its remarks, and no rule is lost."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.documents import atomic
from broker.documents.config import (
    Config,
    Engine,
    Gateway,
    load_config,
    remove_cloud,
    set_cloud,
)
from broker.documents.config_edit import _plain, _save, _with, _without
from broker.errors import DocumentError, NotFoundError, UsageError

Files = Callable[..., Path]
Problems = Callable[..., list[str]]
COMMENTED = """\
# Our clouds.  Ask Kari before you change them.
clouds:
  # the lab: a stand
  aws@lab:   # behind the proxy
    provider: aws # real SDK
    regions: [eu-north-1]  # the only one
    endpoint: https://ec2.lab.example # keep

  # this machine
  local: {provider: local, country: NO}
# agents
gateway:
  port: 8443  # opened in the firewall
policies: []
"""


def remarks(text: str) -> list[str]:
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


def test_no_file_and_an_empty_one_mean_defaults(a_file: Files) -> None:
    assert load_config(None) == Config()
    path = a_file("# nothing yet\n\n", "config.yaml")
    assert load_config(path) == Config(path=path)
    missing = path.parent / "other.yaml"
    assert load_config(missing) == Config(path=missing)


def test_every_field_arrives(a_file: Files) -> None:
    path = a_file(
        """
        clouds:
          aws@lab:
            provider: aws
            regions: [eu-north-1, eu-west-1]
            endpoint: https://ec2.lab.example
            ca_bundle: lab.pem
            profile: lab
            credentials_file: /etc/lab
            image: ami-1
          local: {provider: local, country: no}
        gateway: {host: 0.0.0.0, port: 8443, public_host: null}
        engine: {tick_s: 2}
        policies: rules.yaml
        """,
        "config.yaml",
    )
    (path.parent / "rules.yaml").touch()
    config = load_config(path)
    lab = config.clouds["aws@lab"]
    assert (lab.name, lab.provider, lab.catalog) == ("aws@lab", "aws", "aws")
    assert lab.regions == ("eu-north-1", "eu-west-1")
    assert (lab.endpoint, lab.profile, lab.image) == ("https://ec2.lab.example", "lab", "ami-1")
    assert lab.ca_bundle == path.parent / "lab.pem"
    assert lab.credentials_file == Path("/etc/lab")
    assert str(lab.location) == "config.yaml:3:3"
    assert config.clouds["local"].country == "NO"
    assert config.gateway == Gateway("0.0.0.0", 8443, None)
    assert config.engine == Engine(2.0)
    assert config.policy_files == (path.parent / "rules.yaml",)


def test_patterns_of_policies_name_files_once_and_in_order(a_file: Files) -> None:
    path = a_file("policies: [b.yaml, '*.yaml', 'more/**/*.yaml']\n", "config.yml")
    (path.parent / "more" / "deep").mkdir(parents=True)
    for name in ("b.yaml", "a.yaml", "more/deep/c.yaml"):
        (path.parent / name).touch()
    names = [str(file.relative_to(path.parent)) for file in load_config(path).policy_files]
    assert names == ["a.yaml", "b.yaml", "more/deep/c.yaml"]


def test_a_policy_that_is_gone_is_an_error_and_not_an_absence(
    a_file: Files, problems: Problems
) -> None:
    path = a_file("policies:\n  - eu.yaml\n  - more/*.yaml\n", "config.yml")
    assert problems(load_config, path) == [
        "CFG021 2:5 policy file `eu.yaml` matches no file beside this one",
        "CFG021 3:5 policy pattern `more/*.yaml` matches no file beside this one",
    ]


def test_other_catalogs_may_be_known(a_file: Files) -> None:
    path = a_file("clouds: {nebula: {provider: nebula}}\n")
    assert load_config(path, {"nebula"}).clouds["nebula"].provider == "nebula"
    with pytest.raises(DocumentError, match="starts with no known catalog"):
        load_config(path)


def test_a_configuration_that_is_no_yaml_is_refused(a_file: Files, problems: Problems) -> None:
    (found,) = problems(load_config, a_file("clouds: {aws: \n"))
    assert found.startswith("DOC007")


@pytest.mark.parametrize("tick", ["soon", "-1", "0", "true"])
def test_a_tick_takes_time(a_file: Files, problems: Problems, tick: str) -> None:
    (found,) = problems(load_config, a_file(f"engine: {{tick_s: {tick}}}\n"))
    assert "`engine.tick_s` wants a number" in found


@pytest.mark.parametrize("port", ["https", "true", "-1"])
def test_a_port_is_a_number(a_file: Files, problems: Problems, port: str) -> None:
    (found,) = problems(load_config, a_file(f"gateway: {{port: {port}}}\n"))
    assert "`gateway.port` wants a port" in found


def test_a_cloud_is_added_to_no_file_and_only_the_user_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "home" / "config.yaml"
    set_cloud(path, "aws", {"provider": "aws", "regions": ("eu-north-1",)})
    assert path.read_text() == (
        "# yaml-language-server: $schema=https://fedbroker.dev/schema/v1/config.json\n"
        "clouds:\n  aws:\n    provider: aws\n    regions:\n      - eu-north-1\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["config.yaml"]


def test_a_file_of_remarks_keeps_them(a_file: Files) -> None:
    path = a_file("# first\n#second\n")
    set_cloud(path, "local", {"provider": "local", "country": "NO"})
    assert path.read_text() == (
        "# first\n# second\nclouds:\n  local:\n    provider: local\n    country: NO\n"
    )
    blank = a_file("\n\n", "blank.yaml")
    set_cloud(blank, "local", {"provider": "local"})
    assert blank.read_text() == "clouds:\n  local:\n    provider: local\n"


def test_an_edit_keeps_every_remark(a_file: Files) -> None:
    path = a_file(COMMENTED)
    set_cloud(path, "aws", {"provider": "aws"})
    lab = {"provider": "aws", "regions": ["eu-north-1"], "endpoint": "https://other.example"}
    set_cloud(path, "aws@lab", lab)
    text = path.read_text()
    assert remarks(text) == remarks(COMMENTED)
    assert "https://other.example" in text
    assert list(load_config(path).clouds) == ["aws@lab", "local", "aws"]


def test_a_key_that_goes_takes_only_its_own_remark(a_file: Files) -> None:
    path = a_file(COMMENTED)
    set_cloud(path, "aws@lab", {"provider": "aws", "regions": ["eu-north-1"]})
    assert load_config(path).clouds["aws@lab"].endpoint is None
    assert remarks(path.read_text()) == [one for one in remarks(COMMENTED) if one != " keep"]


def test_a_removed_cloud_leaves_its_neighbours_remarks(a_file: Files) -> None:
    path = a_file(COMMENTED)
    remove_cloud(path, "aws@lab")
    text = path.read_text()
    assert "  # this machine\n  local: {provider: local, country: NO}\n# agents\n" in text
    remove_cloud(path, "local")
    assert load_config(path).clouds == {}
    assert "port: 8443  # opened in the firewall" in path.read_text()
    with pytest.raises(NotFoundError, match="no cloud `local`"):
        remove_cloud(path, "local")


def test_no_cloud_is_removed_from_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no cloud `local`"):
        remove_cloud(tmp_path / "none.yaml", "local")


def test_a_file_in_braces_can_be_changed_too(a_file: Files) -> None:
    path = a_file("{clouds: {aws: {provider: aws}, local: {provider: local}}}\n")
    remove_cloud(path, "aws")
    assert list(load_config(path).clouds) == ["local"]
    set_cloud(path, "local", {"provider": "local", "country": "SE"})
    assert load_config(path).clouds["local"].country == "SE"
    remove_cloud(path, "local")
    assert load_config(path).clouds == {}


def test_clouds_of_nothing_are_none(a_file: Files) -> None:
    path = a_file("clouds: {}\n")
    set_cloud(path, "local", {"provider": "local"})
    assert list(load_config(path).clouds) == ["local"]


@pytest.mark.parametrize(
    ("name", "entry", "code"),
    [
        ("Azure X", {"provider": "azure"}, "CFG005"),
        ("asw", {"provider": "aws"}, "CFG020"),
        ("aws", {"provider": "aws", "country": "Norway"}, "CFG005"),
        ("aws", {"provider": "aws", "reigons": ["x"]}, "CFG002"),
        ("aws", {}, "CFG003"),
    ],
)
def test_an_entry_that_would_not_load_is_not_written(
    a_file: Files, name: str, entry: dict[str, object], code: str
) -> None:
    path = a_file(COMMENTED)
    with pytest.raises(UsageError) as refused:
        set_cloud(path, name, entry)
    assert refused.value.code == code
    assert path.read_text() == COMMENTED


@pytest.mark.parametrize("text", ["- a list\n", "clouds: text\n", "clouds: {}\nclouds: {}\n"])
def test_a_broken_file_is_not_edited(a_file: Files, text: str) -> None:
    path = a_file(text)
    with pytest.raises(DocumentError):
        set_cloud(path, "aws", {"provider": "aws"})
    assert path.read_text() == text


@pytest.mark.parametrize("draft", ["clouds: {aws: {provider: gcp}}", "clouds: [", ""])
def test_a_change_that_would_come_out_wrong_is_not_written(a_file: Files, draft: str) -> None:
    path = a_file(COMMENTED)
    with pytest.raises(UsageError, match="cannot be changed without harm"):
        _save(path, draft, {"clouds": {"aws": {"provider": "aws"}}})
    assert path.read_text() == COMMENTED


def test_a_script_that_ends_like_a_remark_goes_with_its_cloud(a_file: Files) -> None:
    aws = "  aws:\n    provider: aws\n    image: |\n      ami-1\n      # not a remark\n"
    path = a_file(f"clouds:\n{aws}  local: {{provider: local}}\n")
    remove_cloud(path, "aws")
    assert list(load_config(path).clouds) == ["local"]


@given(
    st.dictionaries(
        st.sampled_from(["aws", "aws@lab", "gcp", "local"]),
        st.fixed_dictionaries(
            {"provider": st.sampled_from(["aws", "local"])},
            optional={
                "endpoint": st.text(
                    st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1
                ),
                "regions": st.lists(st.sampled_from(["NO", "eu-1", "1"]), min_size=1, max_size=3),
            },
        ),
        min_size=1,
    )
)
def test_entries_come_out_as_they_went_in(clouds: dict[str, dict[str, object]]) -> None:
    text = ""
    for name, entry in clouds.items():
        text = _with(text, name, entry)
    assert _plain(text) == {"clouds": clouds}
    for name in clouds:
        text = _without(text, ("clouds", name))
    assert _plain(text) == {}


def test_a_write_that_fails_leaves_the_old_file(
    a_file: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_file("old")

    def refuse(handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(atomic.os, "fsync", refuse)
    with pytest.raises(OSError, match="disk full"):
        atomic.write_private(path, "new")
    assert path.read_text() == "old"
    assert [item.name for item in path.parent.iterdir()] == ["file.yaml"]


def test_a_link_stays_a_link(a_file: Files) -> None:
    path = a_file("old")
    link = path.parent / "link.yaml"
    link.symlink_to(path)
    atomic.write_private(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
