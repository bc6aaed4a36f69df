"""The Terraform module says what template.yaml says, and the AWS provider knows every word of it."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from terraform_module import Module, Provider, Terraform, can_plan, problems, snake
from test_template import defaults, holds, refused_by, resolved

from stack.settings import Settings

Json = dict[str, Any]
OF_THE_MODULE = {"name", "package"}
OF_THE_TEMPLATE = {"Revision"}
"""Terraform itself knows whether there is a new version to publish."""
IAM = {
    "DatabaseAuthentication": "iam",
    "DbHost": "db.example.org",
    "DbName": "logins",
    "DbUser": "login_writer",
    "DbResourceId": "db-ABC123",
}
KEY = "arn:aws:kms:eu-central-1:000000000000:key/1"
QUEUE = "arn:aws:sqs:eu-central-1:000000000000:q"
OF_ANOTHER = "arn:aws:sqs:eu-central-1:111111111111:q"
TOPIC = "arn:aws:sns:eu-central-1:000000000000:t"
EVERYTHING = {
    "AlarmEmail": "on-call@example.org",
    "SecretsKmsKeyArns": [KEY],
    "QueueKmsKeyArn": KEY,
    "PointerBucketArns": ["arn:aws:s3:::large"],
    "SenderArns": ["arn:aws:events:eu-central-1:000000000000:rule/orders"],
    "BucketArns": ["arn:aws:s3:::uploads"],
    "TopicArn": TOPIC,
    "MaskSecret": "orders/mask-key",
    "MaxConcurrency": 7,
    "SilenceMinutes": 30,
    "Tracing": "Active",
    "SubnetIds": ["subnet-1"],
    "SecurityGroupIds": ["sg-1"],
    "Profile": "bulk",
}
DEPLOYMENTS = {
    "defaults": {},
    "everything": EVERYTHING,
    "iam": IAM,
    "dsql": IAM | {"DbHost": "abc.dsql.eu-central-1.on.aws", "DbUser": "admin"},
    "fifo": {"QueueType": "fifo", "ContentBasedDeduplication": True, "DeadLetters": "redrive"},
    "existing-queue": {"QueueArn": QUEUE, "DeadLetterQueueArn": f"{QUEUE}-dlq", "SilenceMinutes": 5},
    "other-account": {"QueueArn": OF_ANOTHER, "DeadLetterQueueArn": f"{OF_ANOTHER}-dlq", "SilenceMinutes": 5},
    "own-role": {"RoleArn": "arn:aws:iam::000000000000:role/mine", "Profile": "low-latency"},
}
REFUSED = [
    {"QueueArn": QUEUE},
    {"QueueArn": QUEUE, "DeadLetterQueueArn": QUEUE, "SenderArns": [TOPIC]},
    {"BucketArns": ["arn:aws:s3:::uploads"], "QueueType": "fifo"},
    {"ContentBasedDeduplication": True},
    {"RoleArn": "arn:aws:iam::000000000000:role/mine", "PermissionsBoundary": "arn:aws:iam::aws:policy/b"},
    {"DualStack": True},
    {"SubnetIds": ["subnet-1"]},
    {"SecurityGroupIds": ["sg-1"]},
    {"MaxConcurrency": 1},
    {"DbSslMode": "verify-ca"},
    IAM | {"DbUser": ""},
    IAM | {"DbSslMode": "require"},
    IAM | {"DbChannelBinding": "require"},
]
needs_terraform = pytest.mark.skipif(not can_plan(), reason="there is no terraform here to evaluate it")


@pytest.fixture(scope="module")
def module(settings: Settings) -> Module:
    return Module(settings)


@pytest.fixture(scope="module")
def provider(settings: Settings) -> Provider:
    return Provider(settings)


@pytest.fixture(scope="module")
def terraform(module: Module, tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    return Terraform(module.folder, tmp_path_factory.mktemp("module"))


def of_template(given: Json) -> Json:
    """Values as the template has them."""
    return {
        name: ",".join(value) if isinstance(value, list) else str(value).lower() if value is True else value
        for name, value in given.items()
    }


def of_module(given: Json) -> Json:
    return {snake(name): value for name, value in given.items()}


def shared(template: Json) -> dict[str, Json]:
    """The parameters of both."""
    return {name: of for name, of in template["Parameters"].items() if name not in OF_THE_TEMPLATE}


def test_the_module_has_the_parameters_of_the_template_with_their_defaults(
    template: Json, module: Module
) -> None:
    parameters = {snake(name): parameter for name, parameter in shared(template).items()}
    assert set(module.variables) - OF_THE_MODULE == set(parameters)
    for name, parameter in parameters.items():
        variable, default = module.variables[name], parameter["Default"]
        variable["type"] = variable["type"].removeprefix("${").removesuffix("}")
        if parameter["Type"] == "CommaDelimitedList":
            assert (variable["type"], variable["default"], default) == ("list(string)", [], ""), name
        elif set(parameter.get("AllowedValues", [])) == {"true", "false"}:
            assert (variable["type"], variable["default"]) == ("bool", default == "true"), name
        elif parameter["Type"] == "Number":
            assert (variable["type"], variable["default"]) == ("number", default), name
        else:
            assert (variable["type"], variable["default"]) == ("string", default), name


def test_every_parameter_is_described_in_the_same_words(template: Json, module: Module) -> None:
    names = "|".join(sorted(template["Parameters"], key=len, reverse=True))
    for name, parameter in shared(template).items():
        words = " ".join(parameter["Description"].split())
        said = re.sub(rf"\b({names})\b", lambda of: snake(of[1]), words)
        assert module.variables[snake(name)]["description"] == said


def test_every_parameter_takes_the_same_values(template: Json, module: Module) -> None:
    for name, parameter in shared(template).items():
        conditions = " ".join(
            rule["condition"] for rule in module.variables[snake(name)].get("validation", [])
        )
        values = parameter.get("AllowedValues", [])
        if values and set(values) != {"true", "false"}:
            listed = re.search(r"contains\(\[(.*?)\]", conditions)
            assert listed, name
            assert json.loads(f"[{listed[1]}]") == values
        if pattern := parameter.get("AllowedPattern"):
            assert f'regex("^({pattern})$"' in conditions, name
        for limit in ("MinValue", "MaxValue", "MaxLength"):
            assert str(parameter.get(limit, "")) in conditions, name


def test_the_profiles_are_those_of_the_template(template: Json, module: Module) -> None:
    profiles = {
        name: {snake(word): number for word, number in numbers.items()}
        for name, numbers in template["Mappings"]["Profiles"].items()
    }
    (found,) = [block["profiles"] for _, block in module.blocks("locals") if "profiles" in block]
    assert found == profiles


def test_every_resource_of_the_module_is_known_to_the_provider(module: Module, provider: Provider) -> None:
    found = []
    for (kind, name), body in module.blocks("resource"):
        found += problems(body, provider.accepts(kind), f"{kind}.{name}")
    assert found == []


def test_a_word_that_the_provider_does_not_know_is_found(provider: Provider) -> None:
    accepted = provider.accepts("aws_lambda_event_source_mapping")
    mistaken = {"event_source": "arn:q", "scaling_config": [{"maximum_concurency": 2}]}
    assert problems(mistaken, accepted, "it") == [
        "it: function_name is missing",
        "it: unknown event_source",
        "it.scaling_config: unknown maximum_concurency",
    ]


def test_every_reference_of_the_module_leads_to_something(module: Module, provider: Provider) -> None:
    text = "\n".join(file.read_text() for file in module.folder.glob("*.tf"))
    made = {tuple(labels) for labels, _ in module.blocks("resource")}
    named = {name for _, block in module.blocks("locals") for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == set(module.variables)
    assert set(re.findall(r"\blocal\.(\w+)", text)) == named
    for kind, name, attribute in re.findall(r"\b(aws_\w+)\.(\w+)(?:\[[^\]]*\]|\)\[\*\])?(?:\.(\w+))?", text):
        if (kind, name) in made:
            assert not attribute or attribute in provider.exports(kind), f"{kind}.{name}.{attribute}"
        else:
            assert f'data "{kind}" "{name}"' in text, f"{kind}.{name}"


def test_every_resource_of_the_template_is_in_the_module(template: Json, module: Module) -> None:
    counted: dict[str, int] = {}
    for made in template["Resources"].values():
        counted[made["Type"]] = counted.get(made["Type"], 0) + 1
    of_the_module = [labels[0] for labels, _ in module.blocks("resource")]
    names = {
        "AWS::SQS::Queue": "aws_sqs_queue",
        "AWS::SQS::QueuePolicy": "aws_sqs_queue_policy",
        "AWS::Serverless::Function": "aws_lambda_function",
        "AWS::Lambda::Alias": "aws_lambda_alias",
        "AWS::Lambda::EventSourceMapping": "aws_lambda_event_source_mapping",
        "AWS::CodeDeploy::Application": "aws_codedeploy_app",
        "AWS::CodeDeploy::DeploymentGroup": "aws_codedeploy_deployment_group",
        "AWS::Logs::LogGroup": "aws_cloudwatch_log_group",
        "AWS::IAM::Role": "aws_iam_role",
        "AWS::SNS::Topic": "aws_sns_topic",
        "AWS::CloudWatch::Dashboard": "aws_cloudwatch_dashboard",
        "AWS::Logs::QueryDefinition": "aws_cloudwatch_query_definition",
    }
    # The alarms are one resource with a map; a subscription is part of the topic; a function itself
    # publishes its versions.
    others = {"AWS::CloudWatch::Alarm", "AWS::SNS::Subscription", "AWS::Lambda::Version"}
    assert set(counted) == set(names) | others
    assert {kind: of_the_module.count(names[kind]) for kind in names} == {
        kind: counted[kind] for kind in names
    }


def dashboard_of(template: Json) -> Json:
    """The template's, with the names that the module gives in the plan."""
    body, variables = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    body = re.sub(r'\$\{OfDeadLetters\}.*?"\$\{DatabaseRetriesAlarm.Arn\}"', "", body, flags=re.DOTALL)
    names = {
        "AWS::Region": "eu-central-1",
        "Function": "orders",
        "QueueName": "orders",
        "DeadLetterQueueName": "orders-dlq",
        "LogGroup": "/aws/lambda/orders",
        "DurationMillis": "24000",
        "TableOfMetric": variables["TableOfMetric"],
    }
    return json.loads(re.sub(r"\$\{([\w:]+)\}", lambda name: names[name[1]], body))


@needs_terraform
def test_the_dashboard_is_that_of_the_template(template: Json, terraform: Terraform) -> None:
    made, problem = terraform.plan({})
    assert made, problem
    body = json.loads(made["aws_cloudwatch_dashboard_this[]"]["dashboard_body"])
    assert len(set(body["widgets"][0]["properties"]["alarms"])) == 1
    body["widgets"][0]["properties"]["alarms"] = []
    assert body == dashboard_of(template)


def statements(value: Any) -> Any:  # noqa: ANN401 (a part of a policy)
    """A policy of the template: one resource is as good as a list of it, and references are not compared."""
    if isinstance(value, dict):
        return {
            name: "…" if name == "Resource" else statements(part)
            for name, part in sorted(value.items())
            if name not in ("Sid", "lambda:SourceFunctionArn")
        }
    if isinstance(value, list):
        parts = [statements(part) for part in value]
        return parts[0] if len(parts) == 1 and isinstance(parts[0], str) else sorted(parts, key=str)
    return value


@needs_terraform
@pytest.mark.parametrize("given", DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_the_function_may_do_what_the_template_allows(
    template: Json, terraform: Terraform, given: Json
) -> None:
    made, problem = terraform.plan(of_module(given))
    assert made, problem
    policies = resolved(template, template["Resources"]["Role"]["Properties"]["Policies"], of_lists(given))
    expected = {
        policy["PolicyName"]: statements(policy["PolicyDocument"]["Statement"]) for policy in policies
    }
    found = {
        values["name"]: statements(json.loads(values["policy"])["Statement"])
        for name, values in made.items()
        if name.startswith("aws_iam_role_policy_this")
    }
    assert found == ({} if "RoleArn" in given else expected)


def of_lists(given: Json) -> Json:
    """Values as `resolved` reads them: lists remain lists."""
    return {
        name: value if isinstance(value, list) else of_template({name: value})[name]
        for name, value in given.items()
    }


ALARM = {
    "alarm_description": "AlarmDescription",
    "namespace": "Namespace",
    "metric_name": "MetricName",
    "statistic": "Statistic",
    "period": "Period",
    "evaluation_periods": "EvaluationPeriods",
    "datapoints_to_alarm": "DatapointsToAlarm",
    "threshold": "Threshold",
    "comparison_operator": "ComparisonOperator",
    "treat_missing_data": "TreatMissingData",
}


def number(template: Json, term: Any, profile: str) -> Any:  # noqa: ANN401 (a term of CloudFormation)
    """A term whose numbers are in the profile."""
    if isinstance(term, dict) and "Fn::FindInMap" in term:
        return template["Mappings"]["Profiles"][profile][term["Fn::FindInMap"][-1]]
    if isinstance(term, dict) and "Fn::Sub" in term:
        return number(template, term["Fn::Sub"], profile)
    return term


@needs_terraform
@pytest.mark.parametrize("given", DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_the_alarms_are_those_of_the_template(template: Json, terraform: Terraform, given: Json) -> None:
    made, problem = terraform.plan(of_module(given))
    assert made, problem
    profile = given.get("Profile", "standard")
    parameters = "|".join(sorted(template["Parameters"], key=len, reverse=True))
    expected, found = {}, {}
    for name, alarm in alarms(template, given).items():
        threshold = alarm.pop("Threshold")
        words = " ".join(alarm["AlarmDescription"].split())
        alarm["AlarmDescription"] = re.sub(rf"\b({parameters})\b", lambda of: snake(of[1]), words)
        expected[name] = {word: alarm.get(word) for word in ALARM.values()}
        if name == "OldestMessageAlarm":
            in_millis = alarm["Namespace"] == "sqs-to-postgres"
            seconds = template["Mappings"]["Profiles"][profile]["OldestMessageSeconds"]
            expected[name]["Threshold"] = seconds * (1000 if in_millis else 1)
        else:
            expected[name]["Threshold"] = number(template, threshold, profile)
    for name, values in made.items():
        if name.startswith("aws_cloudwatch_metric_alarm_this"):
            said = {word: values[attribute] for attribute, word in ALARM.items()}
            found[values["alarm_name"].removeprefix("orders-")] = said
    assert found == expected


def alarms(template: Json, given: Json) -> dict[str, Json]:
    """Those that exist with these parameters."""
    values, conditions = defaults(template) | of_template(given), template["Conditions"]
    return {
        name: resolved(template, made["Properties"], of_template(given))
        for name, made in template["Resources"].items()
        if made["Type"] == "AWS::CloudWatch::Alarm"
        and holds(conditions.get(made.get("Condition", ""), True), values, conditions)
    }


@needs_terraform
@pytest.mark.parametrize("given", DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_the_function_gets_the_settings_of_the_template(
    template: Json, terraform: Terraform, given: Json
) -> None:
    made, problem = terraform.plan(of_module(given))
    assert made, problem
    function = template["Resources"]["Function"]["Properties"]
    variables = resolved(template, function["Environment"]["Variables"], of_template(given))
    found = made["aws_lambda_function_this[]"]["environment"]["variables"]
    assert set(found) == set(variables)
    for name, value in variables.items():
        if name not in ("OUTAGE_BACKOFF_SECS", "DEAD_LETTER_QUEUE_URL"):  # of the profile and the queue
            assert found[name] == value, name
    assert bool(found["DEAD_LETTER_QUEUE_URL"]) == bool(variables["DEAD_LETTER_QUEUE_URL"])
    for word, attribute in (("Handler", "handler"), ("Runtime", "runtime"), ("Description", "description")):
        expected = resolved(template, function[word], of_template(given))
        assert made["aws_lambda_function_this[]"][attribute] == expected


@needs_terraform
def test_without_a_gradual_deployment_there_is_no_alias(terraform: Terraform) -> None:
    made, problem = terraform.plan({})
    assert made, problem
    assert made["aws_lambda_function_this[]"]["publish"] is False
    assert made["aws_lambda_event_source_mapping_this[]"]["function_name"].endswith(
        "aws_lambda_function_this"
    )
    assert not [name for name in made if "alias" in name or "codedeploy" in name or "deployment" in name]


@needs_terraform
@pytest.mark.parametrize("steps", ["AllAtOnce", "Canary10Percent5Minutes"])
def test_with_a_gradual_deployment_the_queue_invokes_an_alias_that_code_deploy_moves_as_in_the_template(
    template: Json, terraform: Terraform, steps: str
) -> None:
    made, problem = terraform.plan({"gradual_deployment": steps})
    assert made, problem
    alias, group = made["aws_lambda_alias_this[0]"], made["aws_codedeploy_deployment_group_this[0]"]
    assert made["aws_lambda_function_this[]"]["publish"] is True
    assert made["aws_lambda_event_source_mapping_this[]"]["function_name"].endswith("aws_lambda_alias_this")
    resources = template["Resources"]
    assert alias["name"] == resources["Alias"]["Properties"]["Name"]
    expected = resources["DeploymentGroup"]["Properties"]
    assert group["deployment_config_name"] == f"CodeDeployDefault.Lambda{steps}"
    assert group["deployment_style"] == {
        "deployment_type": expected["DeploymentStyle"]["DeploymentType"],
        "deployment_option": expected["DeploymentStyle"]["DeploymentOption"],
    }
    assert group["auto_rollback_configuration"]["events"] == expected["AutoRollbackConfiguration"]["Events"]
    alarms = [alarm["Name"]["Ref"] for alarm in expected["AlarmConfiguration"]["Alarms"]]
    assert group["alarm_configuration"] == {
        "enabled": steps != "AllAtOnce",
        "alarms": [f"orders-{name}" for name in alarms],
    }


@needs_terraform
def test_a_fifo_queue_has_the_batches_and_the_order_of_the_template(terraform: Terraform) -> None:
    made, problem = terraform.plan(of_module(DEPLOYMENTS["fifo"]))
    assert made, problem
    queue, mapping = made["aws_sqs_queue_this[0]"], made["aws_lambda_event_source_mapping_this[]"]
    assert (queue["name"], queue["deduplication_scope"]) == ("orders.fifo", "messageGroup")
    assert made["aws_sqs_queue_dead_letters[0]"]["name"] == "orders-dlq.fifo"
    assert (mapping["batch_size"], mapping["maximum_batching_window_in_seconds"]) == (10, None)


@needs_terraform
def test_a_queue_of_another_account_has_a_url_and_no_alarm_on_its_metrics(terraform: Terraform) -> None:
    made, problem = terraform.plan(of_module(DEPLOYMENTS["other-account"]))
    assert made, problem
    assert made["outputs"]["queue_url"] == "https://sqs.eu-central-1.amazonaws.com/111111111111/q"
    assert "no alarm on the dead-letter queue" in made["outputs"]["missing_alarms"]


@needs_terraform
@pytest.mark.parametrize("given", REFUSED, ids=lambda given: "-".join(given))
def test_what_the_rules_of_the_template_refuse_the_module_refuses_in_the_same_words(
    template: Json, terraform: Terraform, given: Json
) -> None:
    rules = refused_by(template, **of_template(given))
    assert rules
    made, problem = terraform.plan(of_module(given))
    assert not made
    said = [
        assertion["AssertDescription"]
        for rule in rules
        for assertion in template["Rules"][rule]["Assertions"]
    ]
    assert any(in_hcl(template, text) in problem for text in said), problem


def in_hcl(template: Json, text: str) -> str:
    """A sentence of the template, with names and values as Terraform writes them."""
    names = "|".join(sorted(template["Parameters"], key=len, reverse=True))
    text = re.sub(rf"\b({names})\b", lambda of: snake(of[1]), " ".join(text.split()))
    text = re.sub(r"=true\b", " = true", text)
    return re.sub(r"=([\w-]+)", r' = "\1"', text)


@needs_terraform
def test_the_files_are_formatted_as_terraform_formats_them(module: Module) -> None:
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", module.folder], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_example_of_the_page_gives_the_module_what_it_takes(
    settings: Settings, module: Module, tmp_path: Path
) -> None:
    page = (module.folder / "README.md").read_text()
    (example,) = re.findall(r"^```hcl\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shutil.copytree(module.folder, tmp_path / "terraform", ignore=lambda *_: ["README.md"])
    (block,) = re.findall(r'^module "\w+" \{\n(.*?)^\}$', example, re.MULTILINE | re.DOTALL)
    given = set(re.findall(r"^  (\w+) +=", block, re.MULTILINE)) - {"source"}
    assert OF_THE_MODULE <= given <= set(module.variables)
