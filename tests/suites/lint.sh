#!/usr/bin/env bash
# Rules a compiler does not check.
cd "$TORC_ROOT" || exit 1
passed=0 failed=0
for check in tools/check-layers tools/check-banned; do
    if $check; then passed=$((passed + 1)); else echo "$check failed"; failed=$((failed + 1)); fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
