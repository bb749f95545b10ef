#!/bin/sh
# The whole suite: everything on SQLite, then what touches a database on PostgreSQL (and MariaDB where it is said).
# REQUIRE_SERVICES=1 makes an absent service a failure; otherwise it is said and passed over.
# The last lines name every test that failed, whichever part it belonged to.
set -u
python="${BIN:-.venv/bin}/python"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

run_part() { # database, folders and options
    database=$1
    shift
    echo "== $database =="
    { DATABASE=$database "$python" -m pytest -rfE "$@" || echo "$database: exit code $?" >>"$logs/failed"; } 2>&1 |
        tee "$logs/$database"
}

run_part sqlite tests "$@"

for database in postgres mariadb; do
    if "$python" -m tests.services "$database"; then
        case $database in
            postgres) folders="tests/integration/admin tests/integration/command tests/integration/database tests/integration/history tests/integration/runner tests/faults" ;;
            mariadb) folders="tests/integration/history" ;;
        esac
        # shellcheck disable=SC2086
        run_part "$database" $folders "$@"
    elif [ "${REQUIRE_SERVICES:-}" = 1 ]; then
        echo "$database: absent, though REQUIRE_SERVICES=1" >>"$logs/failed"
    fi
done

if [ -e "$logs/failed" ]; then
    echo "== failed =="
    cat "$logs/failed"
    grep -E '^(FAILED|ERROR) ' "$logs"/sqlite "$logs"/postgres "$logs"/mariadb 2>/dev/null | sed "s|^$logs/||"
    exit 1
fi
