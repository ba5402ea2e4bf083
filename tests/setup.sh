#!/usr/bin/env bash
# What the tests need beside Python packages: a Chromium, and PostgreSQL 15 where it can be had.
# On CI as root both come from Debian; a developer's machine uses what it has, else Playwright's own Chromium.
set -euo pipefail
cd "$(dirname "$0")/.."

have_chromium() {
    [ -n "${HOLDFAST_CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome >/dev/null 2>&1 ||
        compgen -G "${PLAYWRIGHT_BROWSERS_PATH:-$HOME/.cache/ms-playwright}/chromium*" >/dev/null
}
have_postgres15() { [ -x /usr/lib/postgresql/15/bin/postgres ]; }
on_ci_as_root() { [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }

missing=()
have_chromium || missing+=(chromium)
have_postgres15 || missing+=(postgresql-15)
if [ "${#missing[@]}" -gt 0 ] && on_ci_as_root; then
    echo "installing ${missing[*]} for the tests" >&2
    apt-get update -qq >/dev/null
    # The packaged cluster is not wanted, the binaries are.
    mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/holdfast.conf
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi
have_chromium || .venv/bin/python -m playwright install chromium >&2
