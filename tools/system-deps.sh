#!/bin/sh
# Debian packages that some tests use: a PostgreSQL server, to run the ledger's laws on it.
# Without root, apt or a way to the package archive those tests are skipped, and say so.
set -eu
if ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "no PostgreSQL server here: install Debian's package postgresql to test on it too"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null; }; then
  echo "PostgreSQL could not be installed: its tests are skipped"
fi
