#!/usr/bin/env bash
exec "$(dirname "$0")/../ctest_suite.sh" unit
