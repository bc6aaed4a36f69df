# The alarms of template.yaml, which says why each is as it is. docs/RUNBOOK.md has a section of the same name for each.

locals {
  alarms = {
    DeadLettersAlarm = {
      when        = local.sees_queue_metrics
      description = "Messages have been in the dead-letter queue for a day, and are not in the table. SQS deletes each 14 days after it was sent. First run the saved Logs Insights query \"failures by rule\" to see why they are there. Then docs/RUNBOOK.md, DeadLettersAlarm."
      namespace   = "AWS/SQS"
      metric      = "ApproximateNumberOfMessagesVisible"
      dimensions  = { QueueName = local.dead_letter_queue_name }
      statistic   = "Maximum"
      period      = 3600
      periods     = 24
      datapoints  = null
      threshold   = 1
      comparison  = "GreaterThanOrEqualToThreshold"
      missing     = "notBreaching"
    }
    DeadLetterAgeAlarm = {
      when        = local.sees_queue_metrics
      description = "The oldest dead letter has been waiting for three days, and SQS may delete it from tomorrow on. First replay it, or copy it elsewhere. Then docs/RUNBOOK.md, DeadLetterAgeAlarm."
      namespace   = "AWS/SQS"
      metric      = "ApproximateAgeOfOldestMessage"
      dimensions  = { QueueName = local.dead_letter_queue_name }
      statistic   = "Maximum"
      period      = 3600
      periods     = 1
      datapoints  = null
      threshold   = 259200
      comparison  = "GreaterThanOrEqualToThreshold"
      missing     = "notBreaching"
    }
    SilenceAlarm = {
      when        = var.silence_minutes > 0
      description = "No message has been sent to the queue for silence_minutes. First ask whether the producer runs. Then docs/RUNBOOK.md, SilenceAlarm."
      namespace   = local.sees_queue_metrics ? "AWS/SQS" : "sqs-to-postgres"
      metric      = local.sees_queue_metrics ? "NumberOfMessagesSent" : "MessagesReceived"
      dimensions  = local.sees_queue_metrics ? { QueueName = local.queue_name } : { Function = var.name }
      statistic   = "Sum"
      period      = 60
      periods     = var.silence_minutes
      datapoints  = null
      threshold   = 1
      comparison  = "LessThanThreshold"
      missing     = "breaching"
    }
    LostNotificationsAlarm = {
      when        = local.sees_topic_metrics
      description = "SNS could deliver notifications of the topic neither to a queue nor to its dead-letter queue, and has discarded them. First look at the key policy of queue_kms_key_arn. Then docs/RUNBOOK.md, LostNotificationsAlarm."
      namespace   = "AWS/SNS"
      metric      = "NumberOfNotificationsFailedToRedriveToDlq"
      dimensions  = { TopicName = local.topic.name }
      statistic   = "Sum"
      period      = 60
      periods     = 1
      datapoints  = null
      threshold   = 1
      comparison  = "GreaterThanOrEqualToThreshold"
      missing     = "notBreaching"
    }
    FailedMessagesAlarm = {
      when        = true
      description = "Messages fail: they become dead letters, or are tried again. First run the saved Logs Insights query \"failures by rule\" to see why. The alarm ends after 20 minutes without a failure; dead letters remain. Then docs/RUNBOOK.md, FailedMessagesAlarm."
      namespace   = "sqs-to-postgres"
      metric      = "MessagesFailed"
      dimensions  = { Function = var.name }
      statistic   = "Sum"
      period      = 60
      periods     = 20
      datapoints  = 1
      threshold   = 1
      comparison  = "GreaterThanOrEqualToThreshold"
      missing     = "notBreaching"
    }
    OldestMessageAlarm = {
      when        = true
      description = "Messages wait too long before they are stored. First look at the dashboard: with errors, the cause is Postgres or the function; without errors, more is sent than the profile can store. Then docs/RUNBOOK.md, OldestMessageAlarm."
      namespace   = local.sees_queue_metrics ? "AWS/SQS" : "sqs-to-postgres"
      metric      = local.sees_queue_metrics ? "ApproximateAgeOfOldestMessage" : "MessageAgeMillis"
      dimensions  = local.sees_queue_metrics ? { QueueName = local.queue_name } : { Function = var.name }
      statistic   = "Maximum"
      period      = 60
      periods     = 1
      datapoints  = null
      threshold   = local.profile.oldest_message_seconds * (local.sees_queue_metrics ? 1 : 1000)
      comparison  = "GreaterThanOrEqualToThreshold"
      missing     = "notBreaching"
    }
    ErrorsAlarm = {
      when        = true
      description = "Whole batches fail: Postgres is unavailable, a secret cannot be read, or the table does not match the mapping. No message is lost, but each failure uses up a try, and after its last try a message is a dead letter. First read the latest line of level ERROR in the function's log, which says what to do. Then docs/RUNBOOK.md, ErrorsAlarm."
      namespace   = "AWS/Lambda"
      metric      = "Errors"
      dimensions  = { FunctionName = var.name }
      statistic   = "Sum"
      period      = 60
      periods     = 20
      datapoints  = 1
      threshold   = 1
      comparison  = "GreaterThanOrEqualToThreshold"
      missing     = "notBreaching"
    }
    ThrottlesAlarm = {
      when        = true
      description = "Lambda throttles the function. First compare the account's concurrent executions with its quota: another function may be using it up. Then docs/RUNBOOK.md, ThrottlesAlarm."
      namespace   = "AWS/Lambda"
      metric      = "Throttles"
      dimensions  = { FunctionName = var.name }
      statistic   = "Sum"
      period      = 60
      periods     = 5
      datapoints  = 3
      threshold   = 1
      comparison  = "GreaterThanOrEqualToThreshold"
      missing     = "notBreaching"
    }
    DurationAlarm = {
      when        = true
      description = "Batches take almost as long as the timeout allows. First look for locks and slow statements on the table (pg_stat_activity). Then docs/RUNBOOK.md, DurationAlarm."
      namespace   = "AWS/Lambda"
      metric      = "Duration"
      dimensions  = { FunctionName = var.name }
      statistic   = "Maximum"
      period      = 60
      periods     = 5
      datapoints  = 3
      threshold   = local.profile.duration_millis
      comparison  = "GreaterThanOrEqualToThreshold"
      missing     = "notBreaching"
    }
    DatabaseRetriesAlarm = {
      when        = true
      description = "Statements succeed only after retries. First look at the events of Postgres (failover, restart), its connections and its locks. Then docs/RUNBOOK.md, DatabaseRetriesAlarm."
      namespace   = "sqs-to-postgres"
      metric      = "DatabaseRetries"
      dimensions  = { Function = var.name }
      statistic   = "Sum"
      period      = 60
      periods     = 5
      datapoints  = 3
      threshold   = local.max_concurrency
      comparison  = "GreaterThanOrEqualToThreshold"
      missing     = "notBreaching"
    }
  }
  alarm_topics = concat(aws_sns_topic.alarms[*].arn, var.alarm_topic_arn == "" ? [] : [var.alarm_topic_arn])
}

resource "aws_sns_topic" "alarms" {
  count             = var.alarm_email == "" ? 0 : 1
  name              = "${var.name}-alarms"
  kms_master_key_id = var.monitoring_kms_key_arn == "" ? null : var.monitoring_kms_key_arn
}

resource "aws_sns_topic_subscription" "alarms" {
  count     = var.alarm_email == "" ? 0 : 1
  topic_arn = aws_sns_topic.alarms[0].arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = { for name, alarm in local.alarms : name => alarm if alarm.when }
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = each.value.period
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.datapoints
  threshold           = each.value.threshold
  comparison_operator = each.value.comparison
  treat_missing_data  = each.value.missing
  alarm_actions       = local.alarm_topics
  ok_actions          = local.alarm_topics
}
