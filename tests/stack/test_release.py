"""A release, deployed as docs/DEPLOY.md says: with the AWS command line, zip, and nothing else of ours."""

import json
import re
import subprocess
from pathlib import Path

from pages import steps
from releases import ARCHITECTURE, LOCAL, Release

from stack import postgres, run
from stack.deploy import Deployment
from stack.settings import PATIENCE_SECS, Settings
from stacks import GOOD

PAGE = "docs/DEPLOY.md"
UPPERCASE = 'transform = ["uppercase"]\n'


def stored_locales(release: Release) -> list[str]:
    """Of the messages sent so far to the stack."""
    rows = f"SELECT locale FROM user_logins WHERE user_id = '{release.stack}'"
    return sorted(postgres.query(release.settings, rows).splitlines())


def send(release: Release) -> None:
    deployment = Deployment.read(release.settings, release.stack)
    run.send(release.settings, deployment, [json.dumps(GOOD | {"user_id": release.stack, "locale": "de"})])


def test_four_commands_deploy_it_and_one_each_updates_mapping_and_code(release: Release) -> None:
    readable, zipped, copied, deploy = [command for command, _ in steps(PAGE, "With a release")[:4]]
    for command in (readable, zipped, copied, f"{deploy} Architecture={ARCHITECTURE} {LOCAL}"):
        release.type(command)
    send(release)
    run.until(lambda: stored_locales(release) == ["de"], PATIENCE_SECS, "no row")

    shipped, first = release.mapping(), release.deployed().read("bootstrap")
    locale = 'name = "locale"\ntype = "varchar(32)"\n'
    (release.shell.folder / "orders.toml").write_text(shipped.replace(locale, locale + UPPERCASE))
    mapping, code, both = [command for command, _ in steps(PAGE, "Another mapping or version")]
    release.type(mapping)
    assert UPPERCASE in release.mapping()
    assert release.deployed().read("bootstrap") == first
    send(release)
    run.until(lambda: stored_locales(release) == ["DE", "de"], PATIENCE_SECS, "no row of the new mapping")

    release.pack(first + b"\0")
    release.type(code)
    assert UPPERCASE in release.mapping()
    assert release.deployed().read("bootstrap") == first + b"\0"

    release.pack(first + b"\0\0")
    (release.shell.folder / "orders.toml").write_text(shipped)
    release.type(both)
    assert UPPERCASE not in release.mapping()
    assert release.deployed().read("bootstrap") == first + b"\0\0"
    send(release)
    expected = ["DE", "de", "de"]
    run.until(lambda: stored_locales(release) == expected, PATIENCE_SECS, "no row of the new version")


def test_the_released_tool_runs(release: Release) -> None:
    assert re.fullmatch(r"sqs-to-postgres \d+\.\d+\.\d+\n", release.type("sqs-to-postgres --version"))


def test_the_released_template_is_the_template(settings: Settings, released: Path) -> None:
    template = released / "template.yaml"
    linted = subprocess.run([settings.tools / "cfn-lint", template], text=True, capture_output=True)
    assert linted.returncode == 0, linted.stdout
    # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
    assert len(template.read_bytes()) <= 1_000_000, "of a template in a bucket, where deploy.sh puts it"
