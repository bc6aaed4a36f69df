# Queue, function and what connects them, as template.yaml creates them with CloudFormation. The template says why each
# value is as it is.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region

  profiles = {
    low-latency = {
      batch_size             = 10
      batch_window           = 0
      timeout                = 15
      memory_size            = 256
      visibility_timeout     = 90
      max_receive_count      = 10
      outage_backoff         = 60
      max_concurrency        = 10
      oldest_message_seconds = 300
      duration_millis        = 12000
    }
    standard = {
      batch_size             = 100
      batch_window           = 5
      timeout                = 30
      memory_size            = 256
      visibility_timeout     = 185
      max_receive_count      = 10
      outage_backoff         = 60
      max_concurrency        = 5
      oldest_message_seconds = 900
      duration_millis        = 24000
    }
    bulk = {
      batch_size             = 1000
      batch_window           = 30
      timeout                = 60
      memory_size            = 512
      visibility_timeout     = 390
      max_receive_count      = 10
      outage_backoff         = 60
      max_concurrency        = 3
      oldest_message_seconds = 1800
      duration_millis        = 48000
    }
    try-out = {
      batch_size             = 100
      batch_window           = 1
      timeout                = 5
      memory_size            = 256
      visibility_timeout     = 5
      max_receive_count      = 3
      outage_backoff         = 1
      max_concurrency        = 5
      oldest_message_seconds = 60
      duration_millis        = 4000
    }
  }
  profile         = local.profiles[var.profile]
  max_concurrency = var.max_concurrency == 0 ? local.profile.max_concurrency : var.max_concurrency

  makes_queue = var.queue_arn == ""
  is_fifo     = local.makes_queue ? var.queue_type == "fifo" : endswith(var.queue_arn, ".fifo")
  base_name   = var.queue_name == "" ? var.name : var.queue_name
  suffix      = local.is_fifo ? ".fifo" : ""
  new_queue   = "${local.base_name}${local.suffix}"
  queue_key   = var.queue_kms_key_arn == "" ? null : var.queue_kms_key_arn

  # The parts of an ARN: partition, service, Region, account, name.
  given_queue  = split(":", "${var.queue_arn}:::::")
  given_letter = split(":", "${var.dead_letter_queue_arn}:::::")
  topic = {
    region  = split(":", "${var.topic_arn}:::::")[3]
    account = split(":", "${var.topic_arn}:::::")[4]
    name    = split(":", "${var.topic_arn}:::::")[5]
  }

  queue_arn              = local.makes_queue ? aws_sqs_queue.this[0].arn : var.queue_arn
  queue_name             = local.makes_queue ? local.new_queue : local.given_queue[5]
  queue_url              = local.makes_queue ? aws_sqs_queue.this[0].url : "https://sqs.${local.given_queue[3]}.${data.aws_partition.current.dns_suffix}/${local.given_queue[4]}/${local.given_queue[5]}"
  dead_letter_queue_arn  = local.makes_queue ? aws_sqs_queue.dead_letters[0].arn : var.dead_letter_queue_arn
  dead_letter_queue_name = local.makes_queue ? "${local.base_name}-dlq${local.suffix}" : local.given_letter[5]
  dead_letter_queue_url  = local.makes_queue ? aws_sqs_queue.dead_letters[0].url : "https://sqs.${local.given_letter[3]}.${data.aws_partition.current.dns_suffix}/${local.given_letter[4]}/${local.given_letter[5]}"

  subscribes_queue   = local.makes_queue && var.topic_arn != ""
  sees_queue_metrics = local.makes_queue || local.given_queue[4] == local.account
  sees_topic_metrics = local.subscribes_queue && local.topic.region == local.region && local.topic.account == local.account

  sends_dead_letters = var.dead_letters != "redrive"
  uses_password      = var.database_authentication == "password"
  is_in_vpc          = length(var.subnet_ids) > 0
  has_alias          = var.gradual_deployment != "Disabled"
}

# No change deletes a queue: the messages would go with it. To destroy the rest, `terraform state rm` both queues first.
resource "aws_sqs_queue" "this" {
  count                       = local.makes_queue ? 1 : 0
  name                        = local.new_queue
  fifo_queue                  = local.is_fifo
  content_based_deduplication = local.is_fifo ? var.content_based_deduplication : null
  deduplication_scope         = local.is_fifo ? "messageGroup" : null
  fifo_throughput_limit       = local.is_fifo ? "perMessageGroupId" : null
  visibility_timeout_seconds  = local.profile.visibility_timeout
  message_retention_seconds   = 864000
  sqs_managed_sse_enabled     = local.queue_key == null ? true : null
  kms_master_key_id           = local.queue_key
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters[0].arn
    maxReceiveCount     = local.profile.max_receive_count
  })

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_sqs_queue" "dead_letters" {
  count                     = local.makes_queue ? 1 : 0
  name                      = local.dead_letter_queue_name
  fifo_queue                = local.is_fifo
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = local.queue_key == null ? true : null
  kms_master_key_id         = local.queue_key
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = ["arn:${local.partition}:sqs:${local.region}:${local.account}:${local.new_queue}"]
  })

  lifecycle {
    prevent_destroy = true
  }
}

locals {
  only_over_tls = {
    Sid       = "OnlyOverTls"
    Effect    = "Deny"
    Principal = "*"
    Action    = "sqs:*"
    Resource  = "*" # the queue to which the policy is attached
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }
  senders = {
    Senders = {
      when      = length(var.sender_arns) > 0
      services  = ["sns.amazonaws.com", "events.amazonaws.com"]
      condition = { ArnEquals = { "aws:SourceArn" = var.sender_arns } }
    }
    # The ARN of a bucket names no account: after its deletion, anybody can make one of the same name.
    Buckets = {
      when     = length(var.bucket_arns) > 0
      services = ["s3.amazonaws.com"]
      condition = {
        ArnEquals    = { "aws:SourceArn" = var.bucket_arns }
        StringEquals = { "aws:SourceAccount" = local.account }
      }
    }
    Topic = {
      when      = var.topic_arn != ""
      services  = ["sns.amazonaws.com"]
      condition = { ArnEquals = { "aws:SourceArn" = var.topic_arn } }
    }
  }
}

resource "aws_sqs_queue_policy" "this" {
  count     = local.makes_queue ? 1 : 0
  queue_url = aws_sqs_queue.this[0].url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([local.only_over_tls], [
      for sid, sender in local.senders : {
        Sid       = sid
        Effect    = "Allow"
        Principal = { Service = sender.services }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.this[0].arn
        Condition = sender.condition
      } if sender.when
    ])
  })
}

resource "aws_sqs_queue_policy" "dead_letters" {
  count     = local.makes_queue ? 1 : 0
  queue_url = aws_sqs_queue.dead_letters[0].url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([local.only_over_tls], [
      for sid, sender in { Topic = local.senders.Topic } : {
        Sid                      = sid
        Effect                   = "Allow"
        Principal                = { Service = sender.services }
        Action                   = "sqs:SendMessage"
        Resource                 = aws_sqs_queue.dead_letters[0].arn
        Condition                = sender.condition
      } if sender.when
    ])
  })
}

resource "aws_sns_topic_subscription" "this" {
  count          = local.subscribes_queue ? 1 : 0
  region         = local.topic.region # which may be another
  topic_arn      = var.topic_arn
  protocol       = "sqs"
  endpoint       = aws_sqs_queue.this[0].arn
  redrive_policy = local.topic.region == local.region ? jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead_letters[0].arn }) : null

  depends_on = [aws_sqs_queue_policy.this, aws_sqs_queue_policy.dead_letters]
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.monitoring_kms_key_arn == "" ? null : var.monitoring_kms_key_arn
}

resource "aws_lambda_function" "this" {
  function_name    = var.name
  description      = "Stores the messages of an SQS queue in Postgres."
  filename         = var.package
  source_code_hash = filebase64sha256(var.package)
  handler          = "bootstrap"
  runtime          = "provided.al2023"
  architectures    = [var.architecture]
  memory_size      = local.profile.memory_size
  timeout          = local.profile.timeout
  role             = local.role_arn
  publish          = local.has_alias

  logging_config {
    log_group             = aws_cloudwatch_log_group.this.name
    log_format            = "JSON"
    application_log_level = var.log_level
    system_log_level      = "INFO"
  }

  dynamic "vpc_config" {
    for_each = local.is_in_vpc ? [true] : []
    content {
      subnet_ids                  = var.subnet_ids
      security_group_ids          = var.security_group_ids
      ipv6_allowed_for_dual_stack = var.dual_stack
    }
  }

  tracing_config {
    mode = var.tracing
  }

  environment {
    # To the function, an empty variable is an unset one.
    variables = {
      DB_AUTH                    = var.database_authentication
      DB_SECRET_ID               = local.uses_password ? var.database_secret : ""
      DB_USER                    = var.db_user
      DB_HOST                    = var.db_host
      DB_PORT                    = var.db_port
      DB_NAME                    = var.db_name
      DB_SSLMODE                 = var.db_ssl_mode
      DB_SSLROOTCERT             = var.db_ssl_root_cert
      DB_CHANNEL_BINDING         = var.db_channel_binding
      MASK_SECRET_ID             = var.mask_secret
      AWS_USE_DUALSTACK_ENDPOINT = tostring(var.dual_stack)
      OUTAGE_BACKOFF_SECS        = tostring(local.profile.outage_backoff)
      DEAD_LETTER_QUEUE_URL      = local.sends_dead_letters ? local.dead_letter_queue_url : ""
    }
  }

  depends_on = [aws_iam_role_policy.this]
}

resource "aws_lambda_event_source_mapping" "this" {
  event_source_arn                   = local.queue_arn
  function_name                      = local.has_alias ? aws_lambda_alias.this[0].arn : aws_lambda_function.this.arn
  batch_size                         = local.is_fifo ? 10 : local.profile.batch_size
  maximum_batching_window_in_seconds = local.is_fifo ? null : local.profile.batch_window
  function_response_types            = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = local.max_concurrency
  }
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = "${var.name}-${local.region}" # dashboard names are global, not per region
  dashboard_body = templatefile("${path.module}/dashboard.json.tftpl", {
    region            = local.region
    function          = var.name
    queue             = local.queue_name
    dead_letter_queue = local.dead_letter_queue_name
    log_group         = aws_cloudwatch_log_group.this.name
    duration_millis   = local.profile.duration_millis
    alarms            = jsonencode(values(aws_cloudwatch_metric_alarm.this)[*].arn)
  })
}
