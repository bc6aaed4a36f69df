# The alias that the queue invokes, and what moves it to another version. Terraform publishes versions, but does not start
# deployments of CodeDeploy: README.md says how to.

resource "aws_lambda_alias" "this" {
  count            = local.has_alias ? 1 : 0
  name             = "live"
  function_name    = aws_lambda_function.this.function_name
  function_version = aws_lambda_function.this.version

  lifecycle {
    ignore_changes = [function_version, routing_config]
  }
}

resource "aws_codedeploy_app" "this" {
  count            = local.has_alias ? 1 : 0
  name             = var.name
  compute_platform = "Lambda"
}

resource "aws_codedeploy_deployment_group" "this" {
  count                  = local.has_alias ? 1 : 0
  app_name               = aws_codedeploy_app.this[0].name
  deployment_group_name  = var.name
  service_role_arn       = aws_iam_role.deployment[0].arn
  deployment_config_name = "CodeDeployDefault.Lambda${var.gradual_deployment}"

  deployment_style {
    deployment_type   = "BLUE_GREEN"
    deployment_option = "WITH_TRAFFIC_CONTROL"
  }

  alarm_configuration {
    enabled = var.gradual_deployment != "AllAtOnce"
    alarms = [
      aws_cloudwatch_metric_alarm.this["FailedMessagesAlarm"].alarm_name,
      aws_cloudwatch_metric_alarm.this["ErrorsAlarm"].alarm_name,
    ]
  }

  auto_rollback_configuration {
    enabled = true
    events  = ["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM", "DEPLOYMENT_STOP_ON_REQUEST"]
  }
}

resource "aws_iam_role" "deployment" {
  count                = local.has_alias ? 1 : 0
  name_prefix          = "${substr(var.name, 0, 20)}-DeploymentRole-"
  permissions_boundary = var.permissions_boundary == "" ? null : var.permissions_boundary
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "codedeploy.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy_attachment" "deployment" {
  count      = local.has_alias ? 1 : 0
  role       = aws_iam_role.deployment[0].id
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited"
}
