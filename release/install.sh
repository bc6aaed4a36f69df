#!/bin/sh
# Installs the command-line tool of a release, for Linux and macOS, after comparing its sum:
#
#   sh install.sh             the latest release, into ~/.local/bin
#   sh install.sh 1.2.3       this version
#   TO=/usr/local/bin sh install.sh
#
# RELEASES names another place with the files of releases.
set -eu

fail() {
    echo "error: $*" >&2
    exit 1
}

releases=${RELEASES:-https://github.com/OWNER/REPOSITORY/releases}
to=${TO:-$HOME/.local/bin}
if [ "${1:-}" ]; then
    files=$releases/download/v${1#v}
else
    files=$releases/latest/download
fi

case $(uname -s) in
Linux) system=linux ;;
Darwin) system=macos ;;
*) fail "there is no release for $(uname -s): build it with cargo install sqs-to-postgres-tool" ;;
esac
case $(uname -m) in
x86_64 | amd64) processor=x86_64 ;;
aarch64 | arm64) processor=arm64 ;;
*) fail "there is no release for the processor $(uname -m): build it with cargo install sqs-to-postgres-tool" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fetch() {
    curl --fail --silent --show-error --location --output "$work/$1" "$files/$1" || fail "$files/$1 cannot be downloaded"
}
sums() { sha256sum "$@" 2>/dev/null || shasum -a 256 "$@"; }

fetch SHA256SUMS
line=$(grep -- "-tool-$system-$processor.tar.gz\$" "$work/SHA256SUMS") ||
    fail "the release has no tool for $system on $processor"
archive=${line##* }
fetch "$archive"
[ "$(cd "$work" && sums "$archive")" = "$line" ] ||
    fail "$archive is not the file that SHA256SUMS names: nothing was installed"
tar -xzf "$work/$archive" -C "$work"
"$work/sqs-to-postgres" --version
mkdir -p "$to"
mv "$work/sqs-to-postgres" "$to/sqs-to-postgres"
echo "installed in $to"
case :$PATH: in
*":$to:"*) ;;
*) echo "add $to to your PATH" ;;
esac
