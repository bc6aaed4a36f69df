locals {
  consoles = { aws-cn = "console.amazonaws.cn", aws-us-gov = "console.amazonaws-us-gov.com" }
  console  = lookup(local.consoles, local.partition, "console.aws.amazon.com")
}

output "queue_url" {
  description = "URL of the queue to send messages to."
  value       = local.queue_url
}

output "dead_letter_queue_url" {
  description = "URL of the queue that receives messages which cannot be stored."
  value       = local.dead_letter_queue_url
}

output "function_name" {
  value = aws_lambda_function.this.function_name
}

output "function_arn" {
  value = aws_lambda_function.this.arn
}

output "function_version" {
  description = "With gradual_deployment: the version that was published last, to which CodeDeploy can move the alias."
  value       = local.has_alias ? aws_lambda_function.this.version : null
}

output "role_arn" {
  description = "Role of the function, for the policies of queues and keys of other accounts and for AWS IAM GRANT."
  value       = local.role_arn
}

output "log_group" {
  description = "Log group in which the function says why a message was not stored."
  value       = aws_cloudwatch_log_group.this.name
}

output "dashboard_url" {
  description = "Flow, lag, errors and alarms at a glance."
  value       = "https://${local.console}/cloudwatch/home?region=${local.region}#dashboards/dashboard/${aws_cloudwatch_dashboard.this.dashboard_name}"
}

output "missing_alarms" {
  description = "What this account cannot watch of the other account's queues; otherwise null."
  value       = local.sees_queue_metrics ? null : "There is no alarm on the dead-letter queue: SQS gives its metrics only to the account that owns it. Let the owner set one on ApproximateNumberOfMessagesVisible. FailedMessagesAlarm rises when a message fails here."
}
