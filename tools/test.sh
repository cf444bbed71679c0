#!/bin/sh
# Every test, in random order, on two cores. First the rooms that decide, whose branches must all be
# taken; then the rest. pytest's closing line comes last, because readers of the log look for it.
set -eu
pytest=".venv/bin/python -m pytest -q -n 2 --dist loadgroup"
pure="broker.model broker.errors broker.diagnostics broker.actions broker.converge broker.planned broker.runs broker.sweep
broker.codec broker.ids broker.reservations broker.policy broker.place broker.federation.steps broker.federation.cohort
broker.federation.admit broker.federation.receipt"
decide="tests/core tests/policy tests/policy_cel tests/policy_cases tests/place tests/federation"

covered=$(for module in $pure; do printf ' --cov=%s' "$module"; done)
# shellcheck disable=SC2086
$pytest -m "not crash" $decide $covered --cov-branch --cov-report=term-missing:skip-covered \
  --cov-fail-under=100

ignored=$(for folder in $decide; do printf ' --ignore=%s' "$folder"; done)
# shellcheck disable=SC2086
$pytest -m "not crash" tests $ignored
