"""A node's key never leaves it, an invitation is used once, an identity changes in one step."""

from __future__ import annotations

import importlib.util
import json
import ssl
import threading
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from broker.errors import AuthError, RequestError, UsageError, WaitTimeoutError
from broker.model import Capacity, JoinToken, Node
from broker.trust.ca import CertificateAuthority
from edge import keys
from edge.backoff import LONGEST_S, pause_s
from edge.channel import client_context, host_of
from edge.identity import Credentials, NodeHome, identity_of
from edge.join import enrol, fetch_ca, needed, read_invitation
from edge.wire import Beat, Wire

BEAT = Beat(Capacity())


@pytest.fixture
def home(tmp_path):
    return NodeHome(tmp_path / "home")


@pytest.fixture
def join(home):
    def join(line: str, patience_s: float = 0.2):
        return enrol(home, read_invitation(line), "test", patience_s, threading.Event())

    return join


def test_enrolment_leaves_private_files_and_a_working_certificate(world, home, join):
    node = join(world.invite())
    assert (node.node_id, node.name) == ("nd_1", "node-1")
    modes = {path.name: path.stat().st_mode & 0o777 for path in home.current.iterdir()}
    assert modes == dict.fromkeys(["key.pem", "certificate.pem", "ca.pem", "node.json"], 0o600)
    assert home.root.stat().st_mode & 0o777 == 0o700
    assert (home.current / "ca.pem").read_text() == world.ca.certificate_pem
    with Wire(Credentials(home)) as wire:
        assert wire.heartbeat(BEAT)[1] == 0.2


def test_the_token_is_not_kept(world, home, join):
    line = world.invite()
    join(line)
    token = json.loads(line)["token"].encode()
    files = [path for path in home.root.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if token in path.read_bytes()]


def test_a_used_invitation_is_not_used_again_by_the_same_folder(world, home, join):
    line = world.invite()
    join(line)
    assert not needed(home, read_invitation(line))
    assert needed(home, read_invitation(world.invite()))


def test_a_new_invitation_makes_a_new_node_of_the_folder(world, home, join):
    join(world.invite())
    before = (home.current / "key.pem").read_bytes()
    assert join(world.invite()).node_id == "nd_2"
    assert (home.current / "key.pem").read_bytes() != before
    with Wire(Credentials(home)) as wire:
        wire.heartbeat(BEAT)


def test_the_token_is_not_sent_to_a_broker_with_another_ca(world, home, join):
    with pytest.raises(AuthError, match="is not the broker of this invitation") as caught:
        join(world.invite(ca_pin=f"sha256:{'0' * 64}"))
    assert caught.value.code == "EDG003"
    assert [token.used_at for token in world.store.find(JoinToken)] == [None]


def test_a_server_that_shows_a_ca_but_cannot_prove_it_gets_no_token(world, home, tmp_path):
    """The right CA certificate is no secret: somebody may show it without holding its key."""
    impostor = CertificateAuthority.open(tmp_path / "impostor", world.now())
    pem = tmp_path / "impostor.pem"
    pem.write_bytes(impostor.sign_gateway(["127.0.0.1"], world.now()))
    heard, port = pretend(pem, world.ca.certificate_pem)
    line = world.invite(url=f"https://127.0.0.1:{port}")
    with pytest.raises(AuthError, match="does not show a certificate") as caught:
        enrol(home, read_invitation(line), "test", 0.2, threading.Event())
    assert caught.value.code == "EDG004"
    assert heard == [b"GET /v1/ca HTTP/1.1"]


def test_a_page_that_is_no_certificate_is_refused(world, tmp_path):
    pem = tmp_path / "any.pem"
    pem.write_bytes(world.ca.sign_gateway(["127.0.0.1"], world.now()))
    _, port = pretend(pem, "<html>welcome</html>")
    with pytest.raises(AuthError, match="shows no CA certificate"):
        fetch_ca(f"https://127.0.0.1:{port}", world.ca.pin)


@pytest.mark.parametrize("seed", range(6))
def test_a_lost_answer_is_asked_for_again_with_the_same_key(world, home, join, breaker, seed):
    proxy = breaker(world.gateway.enrol_port, seed, longest=5000)
    line = world.invite(url=f"https://127.0.0.1:{proxy.port}")
    node = join(line, patience_s=30)
    certificate = x509.load_pem_x509_certificate((home.current / "certificate.pem").read_bytes())
    (row,) = world.store.find(Node, id=node.node_id)
    assert f"{certificate.serial_number:x}" == row.serial
    with Wire(Credentials(home)) as wire:
        wire.heartbeat(BEAT)


def test_nobody_there_is_said_after_a_while(world, join):
    line = world.invite(url="https://127.0.0.1:1")
    with pytest.raises(WaitTimeoutError, match=r"cannot reach https://127.0.0.1:1") as caught:
        join(line, patience_s=0.5)
    assert caught.value.exit_code == 12


def test_a_stop_ends_the_waiting(world, home):
    stop = threading.Event()
    stop.set()
    line = world.invite(url="https://127.0.0.1:1")
    with pytest.raises(WaitTimeoutError, match="stopped before"):
        enrol(home, read_invitation(line), "test", 60, stop)


def test_renewal_changes_key_and_certificate_and_the_old_pair_ends(world, home, join):
    join(world.invite())
    old, credentials = Credentials(home), Credentials(home)
    before = (home.current / "key.pem").read_bytes()
    with Wire(credentials) as wire:
        wire.heartbeat(BEAT)
        credentials.renew(wire.renew)
        wire.heartbeat(BEAT)
    assert (home.current / "key.pem").read_bytes() != before
    with Wire(old) as wire, pytest.raises(AuthError) as caught:
        wire.heartbeat(BEAT)
    assert caught.value.code == "NOD005"


def test_a_renewal_whose_answer_is_lost_costs_nothing(world, home, join):
    join(world.invite())
    credentials = Credentials(home)

    def lost(csr: str) -> str:
        with Wire(credentials) as wire:
            wire.renew(csr)
        raise RequestError("the answer was lost")

    with pytest.raises(RequestError):
        credentials.renew(lost)
    with Wire(credentials) as wire:
        wire.heartbeat(BEAT)
        credentials.renew(wire.renew)
        wire.heartbeat(BEAT)
    with Wire(Credentials(home)) as wire:
        wire.heartbeat(BEAT)


def test_a_certificate_that_has_expired_is_said_to_need_an_invitation(world, home, join):
    world.gateway.stop()
    world.ahead = -timedelta(hours=25)
    world.gateway.start()
    join(world.invite())
    with Wire(Credentials(home)) as wire, pytest.raises(AuthError, match="expired at") as caught:
        wire.heartbeat(BEAT)
    assert caught.value.code == "NOD006"


def test_a_certificate_for_another_key_or_node_is_not_taken(world, home, join):
    join(world.invite())
    credentials = Credentials(home)
    kept = (home.current / "certificate.pem").read_text()
    with pytest.raises(AuthError, match="not for this node and key"):
        credentials.renew(lambda _: kept)
    with pytest.raises(AuthError, match="no certificate of its CA"):
        credentials.renew(lambda _: "nonsense")
    assert (home.current / "certificate.pem").read_text() == kept


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.6166), (0.5, 0.6666), (1.0, 0.7166)])
def test_renewal_is_due_at_two_thirds_of_the_life_a_little_spread(world, home, join, chance, share):
    join(world.invite())
    credentials = Credentials(home, chance)
    begin, end = credentials.life
    assert end - begin > timedelta(hours=23)
    assert not credentials.due(begin + (end - begin) * (share - 0.001))
    assert credentials.due(begin + (end - begin) * (share + 0.001))


def test_many_renewals_keep_two_pairs_on_disk(world, home, join):
    join(world.invite())
    credentials = Credentials(home)
    with Wire(credentials) as wire:
        for _ in range(4):
            credentials.renew(wire.renew)
            wire.heartbeat(BEAT)
    names = sorted(path.name for path in (home.root / "identity").iterdir())
    assert names == ["4", "5", "current"]


def test_runners_see_the_same_paths_after_a_renewal(world, home, join, tmp_path):
    node = join(world.invite())
    identity = identity_of(home, node, "127.0.0.1", {"scans": tmp_path / "a.csv"})
    credentials = Credentials(home)
    with Wire(credentials) as wire:
        credentials.renew(wire.renew)
    context = client_context(identity.ca.read_text())
    context.load_cert_chain(identity.certificate, identity.key)
    assert identity.datasets == {"scans": tmp_path / "a.csv"}
    if importlib.util.find_spec("flwr"):
        assert identity.flower_key.stat().st_mode & 0o777 == 0o600


def test_the_flower_key_is_p384_in_openssh_form_and_stays(tmp_path):
    line = keys.flower_key(tmp_path / "key")
    assert line.startswith("ecdsa-sha2-nistp384 ")
    assert keys.flower_key(tmp_path / "key") == line
    assert (tmp_path / "key").read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    loaded = serialization.load_ssh_private_key((tmp_path / "key").read_bytes(), password=None)
    assert loaded.curve.name == "secp384r1"


def test_only_tls_13_and_only_the_one_ca_are_accepted(world):
    context = client_context(world.ca.certificate_pem)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("{}", "`url` is missing"),
        ('{"url": "https://x", "token": ""}', "`token` is missing"),
        ('{"url": "https://x", "token": "t", "ca_pin": "sha256:00"}', "`ca_pin` is not"),
        (f'{{"url": "http://x", "token": "t", "ca_pin": "sha256:{"0" * 64}"}}', "no https URL"),
    ],
)
def test_an_invitation_that_is_none_is_explained(line, why):
    with pytest.raises(UsageError, match=why):
        read_invitation(line)


def test_an_invitation_does_not_show_its_token(world):
    line = world.invite()
    assert json.loads(line)["token"] not in repr(read_invitation(line))


@pytest.mark.parametrize("url", ["https://", "x", "https://a/b", "https://a:99999", "ftp://a"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(UsageError):
        host_of(url)


def test_addresses_with_and_without_port_and_ipv6_are_understood():
    assert host_of("https://broker.example") == ("broker.example", 443)
    assert host_of("https://[::1]:8443") == ("::1", 8443)


def test_pauses_grow_to_a_bound_and_are_spread():
    longest = [pause_s(tries, 0.0) for tries in range(40)]
    assert longest == sorted(longest)
    assert longest[-1] == LONGEST_S
    assert pause_s(3, 1.0) == pause_s(3, 0.0) / 2


def pretend(pem, page: str) -> tuple[list[bytes], int]:
    """A server that answers everything with `page`. What it was asked, and its port."""
    import contextlib
    import socket

    heard: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(2):
            plain, _ = listener.accept()
            with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as sock:
                heard.append(sock.recv(65536).split(b"\r\n")[0])
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(page)}\r\n\r\n"
                sock.sendall((head + page).encode())

    threading.Thread(target=serve, daemon=True).start()
    return heard, listener.getsockname()[1]
