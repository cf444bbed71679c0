"""An invitation is good once, for one key, for a while; of its secret only the hash is kept."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography import x509

from broker.errors import AuthError, UsageError
from broker.model import Event, JoinToken, Node, NodeState
from broker.trust.tokens import (
    MAX_TTL,
    attempt_token,
    join_key,
    mint,
    random_token,
    redeem,
    token_hash,
)


@pytest.fixture
def invited(store, node, now):
    """The secret of a committed invitation for `node`."""
    secret, token, _ = mint(node, random_token(), now)
    store.commit(token)
    return secret


@pytest.fixture
def refused(store, ca, csr_of):
    def code(secret, at, csr=None):
        with pytest.raises(AuthError) as caught:
            redeem(store, secret, csr or csr_of(), at, ca)
        return caught.value.code

    return code


def test_the_secret_of_an_attempt_is_always_the_same_and_differs_between_attempts_and_homes():
    key, other = b"k" * 32, b"o" * 32
    assert attempt_token(key, "at_1") == attempt_token(key, "at_1")
    made = {attempt_token(k, a) for k in (key, other) for a in ("at_1", "at_2")}
    assert len(made) == 4
    assert all(secret.startswith("bk1_") for secret in made)


def test_random_secrets_carry_256_bits_and_are_never_repeated():
    made = {random_token() for _ in range(100)}
    assert len(made) == 100
    assert {len(secret) for secret in made} == {len("bk1_") + 43}


def test_the_join_key_is_made_once_and_private(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: join_key(tmp_path), range(8)))
    assert len(keys) == 1
    assert len(keys.pop()) == 32
    assert (tmp_path / "join.key").stat().st_mode & 0o777 == 0o600


def test_a_join_key_of_another_length_is_refused(tmp_path):
    (tmp_path / "join.key").write_bytes(b"short")
    with pytest.raises(AuthError, match="32 bytes"):
        join_key(tmp_path)


def test_only_the_hash_of_a_secret_is_in_the_rows(node, now):
    secret, token, row = mint(node, random_token(), now)
    assert token.id == hashlib.sha256(secret.encode()).hexdigest() == token_hash(secret)
    assert secret not in repr((dataclasses.asdict(token), dataclasses.asdict(row)))
    assert token.node_id == node.id


def test_a_token_lasts_a_day_at_most(node, now):
    assert mint(node, "s", now, timedelta(days=30))[1].expires_at == now + MAX_TTL
    assert mint(node, "s", now)[1].expires_at == now + timedelta(minutes=15)


def test_a_token_gives_a_certificate_and_the_node_its_serial(store, ca, invited, csr_of, now):
    node, pem = redeem(store, invited, csr_of(), now, ca)
    certificate = x509.load_pem_x509_certificate(pem.encode())
    certificate.verify_directly_issued_by(ca.certificate)
    (stored,) = store.find(Node, id=node.id)
    assert stored == node
    assert stored.serial == f"{certificate.serial_number:x}"
    assert stored.expires_at == certificate.not_valid_after_utc
    assert [event.kind for event in store.find(Event, subject=node.id)] == ["node.enrolled"]


def test_an_unknown_token_is_refused(refused, now):
    assert refused("bk1_nonsense", now) == "TOK001"
    assert refused("", now) == "TOK001"
    assert refused("\ud800", now) == "TOK001"


@pytest.mark.parametrize("late", [timedelta(minutes=15), timedelta(days=9)])
def test_an_expired_token_is_refused(refused, invited, now, late):
    assert refused(invited, now + late) == "TOK002"


def test_a_used_token_is_refused_to_another_key(store, ca, refused, invited, csr_of, now):
    before, _ = redeem(store, invited, csr_of(), now, ca)
    assert refused(invited, now) == "TOK003"
    assert store.find(Node, id=before.id)[0] == before


def test_the_same_key_gets_the_same_serial_again_because_an_answer_may_be_lost(
    store, ca, invited, csr_of, new_key, now
):
    key = new_key()
    first, _ = redeem(store, invited, csr_of(key), now, ca)
    again, pem = redeem(store, invited, csr_of(key), now + timedelta(minutes=3), ca)
    assert again == first
    certificate = x509.load_pem_x509_certificate(pem.encode())
    assert f"{certificate.serial_number:x}" == first.serial
    assert certificate.not_valid_after_utc == first.expires_at
    assert len(store.find(Event, subject=first.id)) == 1


def test_the_same_key_is_refused_after_the_token_has_expired(
    store, ca, refused, invited, csr_of, new_key, now
):
    key = new_key()
    redeem(store, invited, csr_of(key), now, ca)
    assert refused(invited, now + timedelta(minutes=16), csr_of(key)) == "TOK002"


@pytest.mark.parametrize("state", [NodeState.REVOKED, NodeState.GONE])
def test_a_node_that_was_sent_away_cannot_enrol(store, refused, invited, node, now, state):
    store.commit(dataclasses.replace(node, state=state))
    assert refused(invited, now) == "TOK004"
    assert store.find(JoinToken)[0].used_at is None


def test_a_token_whose_node_is_missing_is_refused(store, refused, now):
    secret, token, _ = mint(Node("nd_none", "none", "edge", now), random_token(), now)
    store.commit(token)
    assert refused(secret, now) == "TOK004"


def test_a_bad_request_leaves_the_token_unused(store, ca, invited, csr_of, now):
    with pytest.raises(UsageError):
        redeem(store, invited, "garbage", now, ca)
    assert store.find(JoinToken)[0].used_at is None
    redeem(store, invited, csr_of(), now, ca)


def test_the_token_is_looked_at_before_the_request(refused, now):
    assert refused("bk1_unknown", now, "garbage") == "TOK001"


def test_of_100_concurrent_uses_with_different_keys_exactly_one_wins(
    store, ca, invited, csr_of, now
):
    requests = [csr_of() for _ in range(100)]
    start = threading.Barrier(20)

    def use(place):
        if place < 20:
            start.wait(timeout=30)
        try:
            return redeem(store, invited, requests[place], now, ca)[1]
        except AuthError as error:
            return error.code

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(use, range(100)))
    assert results.count("TOK003") == 99
    (pem,) = [result for result in results if result != "TOK003"]
    serial = x509.load_pem_x509_certificate(pem.encode()).serial_number
    assert store.find(Node)[0].serial == f"{serial:x}"


def test_concurrent_uses_with_the_same_key_all_get_the_same_serial(
    store, ca, invited, csr_of, new_key, now
):
    key = new_key()
    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda _: redeem(store, invited, csr_of(key), now, ca), range(32)))
    serials = {x509.load_pem_x509_certificate(pem.encode()).serial_number for _, pem in got}
    assert len(serials) == 1
    assert {node.serial for node, _ in got} == {f"{serials.pop():x}"}


def test_a_second_invitation_fences_off_whoever_held_the_first(store, ca, invited, csr_of, now):
    first, _ = redeem(store, invited, csr_of(), now, ca)
    secret, token, _ = mint(first, random_token(), now)
    store.commit(token)
    second, _ = redeem(store, secret, csr_of(), now, ca)
    assert second.serial != first.serial
    assert second.previous_serial == ""
