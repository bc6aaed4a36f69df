"""docs/DEPLOY.md as a script: from an empty account to rows, and back.

The test of the local stack runs it, and so does the workflow aws.yml, on a real account: there the blocks for
AWS only are typed too, and the database is reachable from the runner while it is tested.
"""

import re
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "DEPLOY.md"
BACK = "### 8. The way back"
USERS_TABLE = "### 3. Its user and its table"
NETWORK = "patiently() {"
SAMPLES = 100
BAD_SAMPLES = 3
MESSAGES = f"""
sqs-to-postgres send --queue-url "$QUEUE_URL" logins.jsonl
stored() {{ PGCONNECT_TIMEOUT=5 psql --dbname logins --no-align --tuples-only --command "$1"; }}
for _ in $(seq 300); do
    rows=$(stored "SELECT count(*) FROM user_logins WHERE user_id <> 'u-1'")
    [ "$rows" = {SAMPLES - BAD_SAMPLES} ] && break
    sleep 1
done
export MASK_KEY=$(head -c 64 /dev/urandom | base64 | tr -d '\\n')
explain="sqs-to-postgres explain --json --show-values --pipeline pipeline.toml"
explained=$(MASK_SECRET_ID= $explain logins.jsonl || true)
expected=$(echo "$explained" | grep -o '"column":"user_id"[^}}]*' | sed 's/.*"value":"//; s/"$//' | sort)
test "$(stored "SELECT user_id FROM user_logins WHERE user_id <> 'u-1'" | sort)" = "$expected"
echo "the rows match the samples: $rows"
"""
"""The samples of `make run`, sent and compared: what is not masked is the same."""
REACHABLE = """
INTERNET=$(aws ec2 create-internet-gateway --query InternetGateway.InternetGatewayId --output text)
aws ec2 attach-internet-gateway --internet-gateway-id "$INTERNET" --vpc-id "$VPC"
MAIN=$(aws ec2 describe-route-tables --filters "Name=vpc-id,Values=$VPC" Name=association.main,Values=true \\
    --query 'RouteTables[0].RouteTableId' --output text)
aws ec2 create-route --route-table-id "$MAIN" --destination-cidr-block 0.0.0.0/0 --gateway-id "$INTERNET"
RUNNER=$(curl --fail --silent --show-error https://checkip.amazonaws.com)
aws ec2 authorize-security-group-ingress --group-id "$DATABASE_GROUP" --protocol tcp --port 5432 \\
    --cidr "$RUNNER/32"
aws rds modify-db-instance --db-instance-identifier logins --publicly-accessible --apply-immediately
until PGCONNECT_TIMEOUT=5 psql --dbname postgres --command "SELECT 1"; do sleep 10; done
"""
UNREACHABLE = """
aws ec2 detach-internet-gateway --internet-gateway-id "$INTERNET" --vpc-id "$VPC"
aws ec2 delete-internet-gateway --internet-gateway-id "$INTERNET"
"""


def blocks(page: str, kinds: str) -> list[str]:
    return re.findall(rf"^```(?:{kinds})\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def script(*, aws: bool) -> str:
    """All blocks in their order. Whatever fails, the way back is gone."""
    kinds = "sh|sh aws-only" if aws else "sh"
    page = GUIDE.read_text()
    there, back = page.split(BACK)
    before, after = there.split(USERS_TABLE)
    forward = [*blocks(before, kinds), REACHABLE if aws else "", *blocks(after, kinds)]
    # After it, no database but that of AWS lets the function in.
    iam = blocks(page, "sh iam")
    forward += [*iam, MESSAGES] if aws else [MESSAGES, *iam]
    home = "\n".join(blocks(back, kinds))
    if aws:
        home = home.replace(NETWORK, UNREACHABLE.lstrip() + NETWORK)
    return f"""set -euo pipefail
go_back() {{
{home}
}}
trap 'status=$?; trap - EXIT; set +eu; go_back; exit $status' EXIT
{"".join(forward)}
trap - EXIT
go_back
"""


if __name__ == "__main__":
    print(script(aws=True))
