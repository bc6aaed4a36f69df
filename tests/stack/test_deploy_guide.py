"""docs/DEPLOY.md, typed literally into an empty account.

AWS is LocalStack, where another access key is another account; Postgres is the stack's own behind a TLS
front, since RDS wants TLS. All else is as on the page, but for the compiler: no optimisations.
"""

import math
import os
import platform
import random
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from guide import INSIDE, Block, blocks, script
from shell import STAND_INS
from tls_front import TlsFront, certify

from stack import postgres
from stack.__main__ import _links
from stack.deploy import build_env, stop_polling
from stack.settings import ADMIN_ROLE, Settings

AWS_ONLY = 7
"""How many blocks cannot run here: RDS and what comes from it, RDS Proxy, and the end of both."""
CALLED_INSIDE = ("secretsmanager get-secret-value", "s3 cp", "rds generate-db-auth-token")
"""What works there: the first two by endpoints, the third without any network."""
PLACEHOLDER = "arn:aws:service:eu-central-1:000000000000:placeholder"
AWS = """#!/bin/sh
exec {aws} --endpoint-url {endpoint} "$@"
"""
"""Version 1 of the AWS command line has its own endpoints of SQS, which precede AWS_ENDPOINT_URL."""
ARCHITECTURE = "arm64" if platform.machine() == "aarch64" else "x86_64"
LEFT = """
functions=$(aws lambda list-functions --query 'Functions[].FunctionName' --output text)
queues=$(aws sqs list-queues --query 'QueueUrls[]' --output text | sed s/None//)
secrets=$(aws secretsmanager list-secrets --query 'SecretList[].Name' --output text)
buckets=$(aws s3 ls)
roles=$(aws iam list-roles --query 'Roles[].RoleName' --output text)
echo "left: $functions$queues$secrets$buckets$roles$(network vpcs 'Vpcs[].VpcId')"
"""
RDS = """
aws() {
    if [ "$1" = rds ]; then
        command aws "$@" --generate-cli-skeleton output > /dev/null
        [ "$2" != describe-db-instances ] || echo db-ABC
    else
        command aws "$@"
    fi
}
"""
"""Its commands are checked, and answered as if the only instance were db-ABC."""
HOME = "trap - EXIT\ngo_back\n"
WITHOUT_PASSWORD = """
aws lambda get-function-configuration --function-name logins --output text \
    --query 'Environment.Variables.[DB_AUTH, DB_USER, DB_NAME]'
"""
"""LocalStack does not update the policies of a role: those are looked at elsewhere."""
TIMEOUT_SECS = 7200


@pytest.fixture(scope="module")
def guide(settings: Settings) -> str:
    return (settings.root / "docs" / "DEPLOY.md").read_text()


def here(script: str) -> str:
    """For this machine's processor, and with the authority of its Postgres in place of those of RDS."""
    return script.replace("x86_64", ARCHITECTURE).replace(
        "MaskSecret=", "DbSslRootCert=/var/task/ca.pem MaskSecret="
    )


@pytest.fixture
def folder(settings: Settings, released: Path, tmp_path: Path) -> Path:
    """That of the release, with the shipped mapping."""
    folder = shutil.copytree(released, tmp_path / "release")
    for file in ("pipeline.toml", "events/logins.jsonl"):
        shutil.copy(settings.root / file, folder)
    return folder


@pytest.fixture
def front(settings: Settings, folder: Path) -> Iterator[TlsFront]:
    """Its authority is in the released zip."""
    certificate = folder / "ca.pem"
    certify(certificate)
    (zipped,) = folder.glob("*.zip")
    with zipfile.ZipFile(zipped, "a") as archive:
        archive.write(certificate, "ca.pem")
    front = TlsFront(settings.identity.postgres_port, certificate)
    yield front
    front.close()


@pytest.fixture
def shell(settings: Settings, front: TlsFront, tmp_path: Path) -> dict[str, str]:
    """The newcomer's environment: an unused account, and a server that they administer."""
    links = _links(settings)
    aws = tmp_path / "aws"
    aws.write_text(AWS.format(aws=links / "aws", endpoint=settings.endpoint))
    aws.chmod(0o755)
    return build_env(settings) | {
        "PATH": os.pathsep.join([str(tmp_path), str(links), os.environ["PATH"], STAND_INS]),
        "AWS_ACCESS_KEY_ID": str(random.randrange(10**11, 10**12)),
        "PGHOST": "localhost",
        "PGPORT": str(front.port),
        "PGUSER": ADMIN_ROLE,
        "PGPASSWORD": settings.identity.admin_password,
    }


@pytest.fixture
def cleaned_up(settings: Settings, guide: str, shell: dict[str, str]) -> Iterator[None]:
    yield
    keys = {"aws_access_key_id": shell["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": "test"}
    [region] = re.findall(r"AWS_DEFAULT_REGION=(\S+)", guide)
    place = {"endpoint_url": settings.endpoint, "region_name": region}
    stop_polling(boto3.client("lambda", **place, **keys), "logins")
    postgres.query(settings, "DROP DATABASE IF EXISTS logins WITH (FORCE)")
    for role in ("login_writer", "login_writer_iam", "rds_iam"):
        postgres.query(settings, f"DROP ROLE IF EXISTS {role}")


def bash(script: str, env: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECS,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.mark.usefixtures("cleaned_up")
def test_a_newcomer_who_types_every_block_sees_a_row_and_leaves_nothing_behind(
    settings: Settings, front: TlsFront, shell: dict[str, str], folder: Path
) -> None:
    postgres.query(settings, "CREATE ROLE rds_iam")
    typed = RDS + here(script(aws=False)).replace(HOME, WITHOUT_PASSWORD + HOME) + LEFT
    printed = bash(typed, shell, folder)
    assert "the rows match the samples: 97" in printed
    assert re.search(r"^ [0-9a-f-]{36} \| u-1 +\| [0-9a-f]{12} +\| +4 \| ", printed, re.MULTILINE), printed
    assert '"message":"batch"' in printed
    assert front.tls_connections > 0
    assert re.search(r"^iam\tlogin_writer_iam\tlogins$", printed, re.MULTILINE), printed[-3000:]
    assert printed.endswith("left: \n"), printed[-500:]


def test_the_blocks_that_cannot_run_here_are_few_and_well_formed(
    guide: str, shell: dict[str, str], folder: Path
) -> None:
    only_on_aws = [block.text for block in blocks(guide) if block.only_on_aws]
    assert len(only_on_aws) == AWS_ONLY
    assert guide.count("```sh") == len(blocks(guide))
    # `--generate-cli-skeleton output` checks a command and its options, and sends nothing.
    stubs = """
aws() {
    case "$*" in
    s3* | iam*) ;; # which have no such skeleton, or an invalid one
    *.Status*) command aws "$@" --generate-cli-skeleton output > /dev/null && echo available ;;
    *) command aws "$@" --generate-cli-skeleton output ;;
    esac
}
curl() { :; }
psql() { :; }
sudo() { :; }
python3() { :; }
sleep() { exit 0; }
"""
    assert all(block in script(aws=True) for block in only_on_aws)
    instance = INSIDE.replace("    inside() {", "    return; inside() {") + "enter; leave"
    for block in [*only_on_aws, instance]:
        names = re.findall(r"\$\{?([A-Z_]+)|(ADMINISTRATOR)", block)
        placeholders = {name: PLACEHOLDER for found in names for name in found if name}
        bash(stubs + block, placeholders | shell, folder)


def test_dual_stack_subnets_lead_to_aws_without_interface_endpoints(
    guide: str, shell: dict[str, str], folder: Path
) -> None:
    network = blocks(guide)[0].text
    (dual_stack,) = [block.text for block in blocks(guide) if "dual-stack" in block.words]
    shown = "aws ec2 describe-subnets --filters Name=vpc-id,Values=$VPC\naws ec2 describe-route-tables"
    printed = bash("\n".join([network, dual_stack, shown]), shell, folder)
    assert len(set(re.findall(r'"Ipv6CidrBlock": "(\S+::/64)"', printed))) == 2
    assert re.search(r'"DestinationIpv6CidrBlock": "::/0",\s+"EgressOnlyInternetGatewayId": "eigw-', printed)


def test_no_password_and_no_key_is_an_argument_of_a_program(guide: str) -> None:
    typed = "\n".join(block.text for block in blocks(guide)).replace("\\\n", " ")
    # What follows `<<<` is no argument.
    words = [re.sub(r"<<<.*", "", line) for line in typed.splitlines()]
    assert {"PGPASSWORD", "password_of", "mask_key"} <= set(re.findall(r"\w+", typed))
    for line in words:
        is_program = re.match(r"\s*(?:\w+=\$\()?(?:aws|psql) ", line)
        assert not (is_program and re.search(r"PASSWORD|password_of|/dev/urandom", line)), line


def test_every_block_says_where_it_is_typed_and_works_there(guide: str) -> None:
    def says(block: Block, place: str) -> bool:
        return place in block.before.lower()

    assert [block for block in blocks(guide) if block.is_inside]
    for block in blocks(guide):
        assert says(block, "inside the network") == block.is_inside, block.text
        assert says(block, "on your machine") != block.is_inside, block.text
        assert says(block, "on aws only") == block.only_on_aws, block.text
        called = re.findall(r"(?:^|[(;|] ?)aws (.+)", block.text, re.MULTILINE)
        if block.is_inside:
            assert all(call.startswith(CALLED_INSIDE) for call in called), block.text
        else:
            assert "psql" not in block.text


def test_psql_verifies_the_server_before_it_sends_a_password_to_aws() -> None:
    typed = script(aws=True)
    verifies = typed.index("PGSSLMODE=verify-full PGSSLROOTCERT=")
    # The psql of the local stack has no TLS: there the variables are not set.
    assert verifies < typed.index("psql ", typed.index("trap 'status"))
    assert "PGSSLMODE" not in script(aws=False)


def test_its_table_is_that_of_the_shipped_mapping(settings: Settings, guide: str) -> None:
    (typed,) = [block.text for block in blocks(guide) if "CREATE TABLE" in block.text]
    assert (settings.root / "localstack" / "schema.sql").read_text() in typed


def test_its_sums_are_right(guide: str) -> None:
    rows = re.findall(r"^\| .+ \| ([\d.×/ ]+) \| ([\d.]+) \|$", guide, re.MULTILINE)
    assert len(rows) == 18
    for calculation, result in rows:
        product = math.prod(
            float(number) if sign != "/" else 1 / float(number)
            for sign, number in re.findall(r"(^|[×/]) ?([\d.]+)", calculation)
        )
        digits = len(result.partition(".")[2])
        assert f"{product:.{digits}f}" == result, calculation
