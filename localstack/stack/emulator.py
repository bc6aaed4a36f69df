"""LocalStack as a process of this machine, with our executor for its Lambda functions."""

import json
import os
import sys
import urllib.request

from stack.processes import Daemon, require_free_port
from stack.settings import LOOPBACK, REGION, Settings

SERVICES = "sqs,secretsmanager,lambda,iam,sts,logs,cloudformation,s3,ssm,cloudwatch,sns,ec2"


def daemon(settings: Settings) -> Daemon:
    return Daemon("localstack", settings.running)


def start(settings: Settings) -> None:
    """Starts LocalStack without waiting for it. Harmless when it runs already."""
    server = daemon(settings)
    if server.pid() is not None:
        return
    require_free_port(settings.identity.localstack_port, "LocalStack", "LOCALSTACK_PORT")
    # Its own folder, and -P: a folder `localstack` next to it would count as a part of the package.
    folder = settings.running / "localstack"
    folder.mkdir(exist_ok=True)
    server.start([sys.executable, "-P", "-m", "localstack.runtime.main"], _env(settings), folder)


def wait_ready(settings: Settings) -> None:
    daemon(settings).wait_until(lambda: _is_healthy(settings.endpoint), timeout_secs=300)


def _is_healthy(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/_localstack/health", timeout=5) as reply:
            return "sqs" in json.load(reply)["services"]
    except (OSError, ValueError, KeyError):
        return False


def _env(settings: Settings) -> dict[str, str]:
    """The whole environment, instead of the user's: their AWS profile and proxy settings must not matter."""
    folder = settings.running / "localstack"
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    aws_config = folder / "aws-config"
    aws_config.write_text(f"[default]\nregion = {REGION}\n")
    address = f"{LOOPBACK}:{settings.identity.localstack_port}"
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX", ""),
        # Every file it writes remains below our folder.
        "HOME": str(folder),
        "TMPDIR": str(temporary),
        "FILESYSTEM_ROOT": str(folder),
        # Without a region it sets AWS_DEFAULT_REGION for each stack that it transforms, and removes it while
        # another one still needs it: "AWS Region cannot be found".
        "AWS_CONFIG_FILE": str(aws_config),
        "LOCALSTACK_VOLUME_DIR": str(folder / "volume"),
        "XDG_CACHE_HOME": str(settings.cache),
        # It answers on one loopback port, and its queue URLs name that too.
        "GATEWAY_LISTEN": address,
        "GATEWAY_SERVER": "loopback",
        "LOCALSTACK_HOST": address,
        "SQS_ENDPOINT_STRATEGY": "path",
        # It would send each metric to itself, for more than the request costs. Nothing reads them.
        "SQS_DISABLE_CLOUDWATCH_METRICS": "1",
        "SERVICES": SERVICES,
        "LAMBDA_RUNTIME_EXECUTOR": "process",
        "LAMBDA_SYNCHRONOUS_CREATE": "1",
        # In seconds, for a function to start: a busy machine may need more than its 20.
        "LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT": "180",
        # Polls a busy queue without a pause, and an idle one every second instead of every ten: users wait.
        "LAMBDA_EVENT_SOURCE_MAPPING_POLL_INTERVAL_SEC": "0.1",
        "LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_EMPTY_POLL_SEC": "1",
        # Dashboards and saved queries, which it does not know, are omitted.
        "CFN_IGNORE_UNSUPPORTED_RESOURCE_TYPES": "1",
        # Without these it uses the network, for a certificate, statistics and names.
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DISABLE_EVENTS": "1",
        "DNS_ADDRESS": "0",
    }
