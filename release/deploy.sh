#!/bin/sh
# Deploys a released function with your mapping, or updates the code, the mapping or both of a deployed one. Needs the
# AWS command line, zip and unzip; no compiler, no SAM.
#
#   ./deploy.sh STACK --bucket BUCKET --zip FILE --mapping FILE [Parameter=Value …]   the first time
#   ./deploy.sh STACK --mapping FILE                                                  another mapping
#   ./deploy.sh STACK --zip FILE                                                      another version
#
# What is not named does not change, and neither do parameters. The processor comes from the zip.
set -eu

fail() {
    echo "error: $*" >&2
    exit 1
}

usage="usage: deploy.sh STACK [--bucket BUCKET] [--zip FILE] [--mapping FILE] [Parameter=Value …]"
stack=${1:-}
case $stack in
"" | -* | *[!A-Za-z0-9-]*) fail "$usage" ;;
esac
# The function has the name of the stack. https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
[ "${#stack}" -le 64 ] || fail "the name $stack has ${#stack} characters: a function's has at most 64"
shift

bucket='' zip='' mapping=''
while [ $# -gt 0 ]; do
    case $1 in
    --bucket | --zip | --mapping)
        [ $# -gt 1 ] || fail "$usage"
        case $1 in
        --bucket) bucket=$2 ;;
        --zip) zip=$2 ;;
        --mapping) mapping=$2 ;;
        esac
        shift 2
        ;;
    *=*) break ;;
    *) fail "$usage" ;;
    esac
done
for file in "$zip" "$mapping"; do
    [ -z "$file" ] || [ -f "$file" ] || fail "there is no file $file"
done
[ "$zip$mapping" ] || fail "name another --zip, another --mapping, or both"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

account=$(aws sts get-caller-identity --query Account --output text)
# Whoever owns the bucket decides which code runs with your mask key and your database.
check_owner() {
    aws s3api head-bucket --bucket "$1" --expected-bucket-owner "$account" >"$work/answer" 2>&1 || fail \
        "the bucket $1 cannot be used ($(sed '/^$/d' "$work/answer")): it must be of the account $account; name another --bucket, or create this one"
}

# What is deployed: the rest of the new zip, and the place for it.
given() { echo "Parameters[?ParameterKey=='$1'].ParameterValue|[0]"; }
if ! aws cloudformation describe-stacks --stack-name "$stack" --output text \
    --query "Stacks[0].[StackStatus,$(given CodeBucket),$(given CodeKey)]" >"$work/stack" 2>"$work/answer"; then
    grep -q "does not exist" "$work/answer" ||
        fail "the stack $stack cannot be looked up: $(sed '/^$/d' "$work/answer")"
    echo "None None None" >"$work/stack"
fi
read -r status deployed_bucket deployed_key <"$work/stack"
case $status in
ROLLBACK_COMPLETE | ROLLBACK_FAILED | CREATE_FAILED)
    fail "the stack $stack is $status: its creation failed, so it cannot be updated. The reason is in
  aws cloudformation describe-stack-events --stack-name $stack --query \"StackEvents[?ResourceStatus=='CREATE_FAILED'].[LogicalResourceId,ResourceStatusReason]\"
Then delete it, and run this command again:
  aws cloudformation delete-stack --stack-name $stack && aws cloudformation wait stack-delete-complete --stack-name $stack"
    ;;
esac
[ "$deployed_bucket" != None ] || deployed_bucket=''
[ "$deployed_key" != None ] || deployed_key=''
[ "$bucket" ] || bucket=$deployed_bucket
[ "$bucket" ] || fail "the stack $stack does not exist yet, or was not deployed with a released template: name a --bucket"
if [ -z "$zip" ] || [ -z "$mapping" ]; then
    [ "$deployed_key" ] || fail "the stack $stack does not exist yet: name a --zip and a --mapping"
    check_owner "$deployed_bucket"
    aws s3 cp --only-show-errors "s3://$deployed_bucket/$deployed_key" "$work/deployed.zip"
fi

packed=$work/packed
unzip -q "${zip:-$work/deployed.zip}" -d "$packed"
[ -f "$packed/bootstrap" ] || fail "$zip is not a released zip: it has no bootstrap"
if [ "$mapping" ]; then
    cp "$mapping" "$packed/pipeline.toml"
else
    unzip -q -o "$work/deployed.zip" pipeline.toml -d "$packed" || fail "the deployed zip has no mapping: name a --mapping"
fi
# Another user than the one who packs them reads these files on Lambda, and runs the first.
# https://repost.aws/knowledge-center/lambda-deployment-package-errors
chmod 755 "$packed/bootstrap"
chmod -R a+rX "$packed"

# The processor: byte 18 of an ELF file. https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
case $(od -An -tx1 -j18 -N1 "$packed/bootstrap" | tr -d ' ') in
3e) architecture=x86_64 ;;
b7) architecture=arm64 ;;
*) fail "$zip is for no processor that Lambda has" ;;
esac
for parameter in "$@"; do
    case $parameter in
    Architecture="$architecture") ;;
    Architecture=*) fail "$parameter was asked for, but the zip is for $architecture: name the other --zip" ;;
    esac
done

# The tool of the same release, if it is there, finds a mapping that could not work before it is deployed.
if command -v sqs-to-postgres >/dev/null; then
    MASK_KEY='' MASK_SECRET_ID='' sqs-to-postgres explain --pipeline "$packed/pipeline.toml" /dev/null >/dev/null
fi

# The key names the content, so that CloudFormation deploys what differs, and goes back to what was before.
sum() { sha256sum "$1" 2>/dev/null || shasum -a 256 "$1"; }
(cd "$packed" && find . -type f | LC_ALL=C sort) >"$work/files"
(cd "$packed" && while read -r file; do sum "$file"; done <"$work/files") >"$work/sums"
(cd "$packed" && zip -q ../function.zip -@ <"$work/files")
key=$stack/$(sum "$work/sums" | cut -c1-16).zip
check_owner "$bucket"
aws s3 cp --only-show-errors "$work/function.zip" "s3://$bucket/$key"
# Another revision publishes another version, where the deployment is gradual.
revision=$(date -u +%Y-%m-%dT%H:%M:%SZ)
# In a request the template would be too large: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
aws cloudformation deploy --stack-name "$stack" --template-file "$(dirname "$0")/template.yaml" \
    --s3-bucket "$bucket" --s3-prefix "$stack" \
    --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND --no-fail-on-empty-changeset \
    --parameter-overrides CodeBucket="$bucket" CodeKey="$key" Architecture="$architecture" Revision="$revision" "$@"
