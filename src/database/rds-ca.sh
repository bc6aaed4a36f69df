#!/bin/sh
# Writes rds-ca.pem, the certificate authorities of Amazon RDS that the function trusts, from the bundle that AWS
# publishes or from a file: rds-ca.sh [FILE SOURCE]. Leaves out those of previews, and those that expire within a year.
set -eu

url=https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ $# -eq 2 ]; then
    cp "$1" "$work/bundle"
else
    curl --fail --silent --show-error --output "$work/bundle" "$url"
fi
awk -v folder="$work" '/BEGIN CERTIFICATE/ { file = sprintf("%s/%04d.pem", folder, ++count) } file { print > file }' "$work/bundle"

{
    echo "# Certificate authorities of Amazon RDS and Aurora, written by src/database/rds-ca.sh (make rds-ca)."
    echo "# Source: ${2:-$url}, $(date -u +%Y-%m-%d)"
    for authority in "$work"/*.pem; do
        subject=$(openssl x509 -in "$authority" -noout -subject -nameopt RFC2253)
        case $subject in *Beta* | *Preview*) continue ;; esac
        openssl x509 -in "$authority" -noout -checkend 31536000 > "$work/expiry" || continue
        echo "# $subject" | sed 's/subject=.*CN=\([^,]*\).*/\1/'
        openssl x509 -in "$authority"
    done
} > "$work/new"
mv "$work/new" "$here/rds-ca.pem"
grep -c "BEGIN CERTIFICATE" "$here/rds-ca.pem" | sed 's/$/ authorities/'
