#!/usr/bin/env bash
# Runs `make run`, or other targets, on a fresh Debian: a root folder made by debootstrap, with only what the README
# names, and a user without privileges. sid has Python 3.14, trixie 3.13, bookworm 3.11.
#
#   sudo env "PATH=$PATH" tests/fresh-machine.sh sid             # make run
#   sudo env "PATH=$PATH" tests/fresh-machine.sh bookworm test   # make test
#
# It clones the last commit. Rust is this machine's, mounted read-only. Debian's packages come from the mirror that
# apt uses here, unless MIRROR names another; pip and cargo are configured as they are here. The folder, below
# .local/fresh/, is recreated by each run, and stays for inspection.
set -euo pipefail

suite=${1:?name a suite of Debian: sid, trixie or bookworm}
shift
repository=$(cd "$(dirname "$0")/.." && pwd)
root=$repository/.local/fresh/$suite
home=/home/newcomer

if [ "$(id -u)" != 0 ]; then
    echo "this needs root, for debootstrap and chroot: sudo $0 $suite" >&2
    exit 1
fi
# In separate namespaces, so that the mounts and processes of the fresh machine end with this script.
if [ -z "${FRESH_MACHINE_SYSROOT:-}" ]; then
    FRESH_MACHINE_SYSROOT=$(rustc --print sysroot)
    export FRESH_MACHINE_SYSROOT
    exec unshare --mount --pid --fork --kill-child --mount-proc "$0" "$suite" "$@"
fi

debian_mirror() {
    # shellcheck disable=SC2016 # apt's own placeholder
    { apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' 2>/dev/null || true; } |
        head -n 1
}

# The network configuration for package registries: certificates, names, and configuration files of clients.
copy_network_configuration() {
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    install -D -m 644 "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" \
        "$root/etc/ssl/certs/ca-certificates.crt"
    [ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/"
    copy_to_home "${CARGO_HOME:-$HOME/.cargo}" .cargo config.toml config credentials.toml
    copy_to_home "${XDG_CONFIG_HOME:-$HOME/.config}/pip" .config/pip pip.conf
    copy_to_home "$HOME/.pip" .pip pip.conf
}

copy_to_home() {
    local from=$1 to=$root$home/$2 name
    shift 2
    for name in "$@"; do
        [ ! -f "$from/$name" ] || install -D -m 644 "$from/$name" "$to/$name"
    done
}

network_variables() {
    env | grep -E '^(PIP_[A-Z_]+|CARGO_(HTTP|NET|REGISTR|SOURCE)[A-Z_]*|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY)=' |
        grep -vE '^PIP_(CACHE_DIR|FIND_LINKS|TARGET|PREFIX|REQUIRE_VIRTUALENV)=' || true
}

in_root() {
    chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"
}

as_newcomer() {
    local variables
    mapfile -t variables < <(network_variables)
    chroot --userspec=newcomer:newcomer "$root" /usr/bin/env -i -C "$home/sqs-to-postgres" \
        HOME="$home" USER=newcomer LANG=C.UTF-8 PATH="/opt/rust/bin:/usr/local/bin:/usr/bin:/bin" \
        SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt "${variables[@]}" \
        ${LOCALSTACK_PORT:+LOCALSTACK_PORT=$LOCALSTACK_PORT} ${POSTGRES_PORT:+POSTGRES_PORT=$POSTGRES_PORT} "$@"
}

mirror=${MIRROR:-$(debian_mirror)}
if [ -z "$mirror" ]; then
    echo "apt on this machine has no mirror of Debian (or no package lists: apt-get update): name one as MIRROR=…" >&2
    exit 1
fi
rm -rf --one-file-system "$root"
mkdir -p "$root"
# Mounts below are neither visible nor left behind outside.
mount --make-rprivate /
debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev,make,perl,python3,python3-venv \
    "$suite" "$root" "$mirror"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
mkdir "$root/opt/rust"
mount --bind -o ro "$FRESH_MACHINE_SYSROOT" "$root/opt/rust"
in_root useradd --create-home newcomer
copy_network_configuration
git clone --quiet "$repository" "$root$home/sqs-to-postgres"
in_root chown -R newcomer:newcomer "$home"

# shellcheck disable=SC2016 # expanded inside
as_newcomer sh -c '. /etc/os-release && echo "$PRETTY_NAME, $(python3 --version), $(rustc --version), as $(id -un)"'
for target in "${@:-run}"; do
    as_newcomer make --no-print-directory "$target"
done
as_newcomer make --no-print-directory down
echo "a fresh $suite passes: make ${*:-run}"
