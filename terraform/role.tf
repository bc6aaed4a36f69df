# The role of the function, unless role_arn names yours. Each policy is one of template.yaml.

locals {
  role_arn = var.role_arn == "" ? aws_iam_role.this[0].arn : var.role_arn

  # Secrets Manager ends the ARN of a secret with a hyphen and six random characters.
  secret_prefix       = "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:"
  database_secret_arn = startswith(var.database_secret, "arn:") ? var.database_secret : "${local.secret_prefix}${var.database_secret}-??????"
  mask_secret_arn     = startswith(var.mask_secret, "arn:") ? var.mask_secret : "${local.secret_prefix}${var.mask_secret}-??????"

  is_dsql        = strcontains(var.db_host, ".dsql")
  connect_action = local.is_dsql ? (var.db_user == "admin" ? "dsql:DbConnectAdmin" : "dsql:DbConnect") : "rds-db:connect"
  connect_to     = local.is_dsql ? "dsql:${local.region}:${local.account}:cluster/${var.db_resource_id}" : "rds-db:${local.region}:${local.account}:dbuser:${var.db_resource_id}/${var.db_user}"

  network_actions = [
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
  ]

  policies = {
    drain-the-queue = {
      when = true
      statements = [{
        Effect   = "Allow"
        Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ChangeMessageVisibility"]
        Resource = local.queue_arn
      }]
    }
    send-dead-letters = {
      when       = local.sends_dead_letters
      statements = [{ Effect = "Allow", Action = "sqs:SendMessage", Resource = local.dead_letter_queue_arn }]
    }
    write-logs = {
      when = true
      statements = [{
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.this.arn}:*"
      }]
    }
    read-database-secret = {
      when       = local.uses_password
      statements = [{ Effect = "Allow", Action = "secretsmanager:GetSecretValue", Resource = local.database_secret_arn }]
    }
    connect-to-the-database = {
      when       = !local.uses_password
      statements = [{ Effect = "Allow", Action = local.connect_action, Resource = "arn:${local.partition}:${local.connect_to}" }]
    }
    read-mask-key = {
      when       = var.mask_secret != ""
      statements = [{ Effect = "Allow", Action = "secretsmanager:GetSecretValue", Resource = local.mask_secret_arn }]
    }
    # A secret may be in another Region, whose name is then part of the service's.
    decrypt-secrets = {
      when = length(var.secrets_kms_key_arns) > 0
      statements = [{
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = var.secrets_kms_key_arns
        Condition = { StringLike = { "kms:ViaService" = "secretsmanager.*" } }
      }]
    }
    decrypt-messages = {
      when = var.queue_kms_key_arn != ""
      statements = [{
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = var.queue_kms_key_arn
        Condition = { StringLike = { "kms:ViaService" = "sqs.*" } }
      }]
    }
    encrypt-dead-letters = {
      when = local.sends_dead_letters && var.queue_kms_key_arn != ""
      statements = [{
        Effect    = "Allow"
        Action    = "kms:GenerateDataKey"
        Resource  = var.queue_kms_key_arn
        Condition = { StringLike = { "kms:ViaService" = "sqs.*" } }
      }]
    }
    read-large-messages = {
      when = length(var.pointer_bucket_arns) > 0
      statements = [
        { Effect = "Allow", Action = "s3:GetObject", Resource = [for arn in var.pointer_bucket_arns : "${arn}/*"] },
        { Effect = "Allow", Action = "s3:ListBucket", Resource = var.pointer_bucket_arns },
      ]
    }
    send-traces = {
      when       = var.tracing == "Active"
      statements = [{ Effect = "Allow", Action = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], Resource = "*" }]
    }
    # Lambda itself joins the VPC. Requests of the function's own code have the condition key, those of Lambda do not.
    join-the-vpc = {
      when = local.is_in_vpc
      statements = [
        { Effect = "Allow", Action = local.network_actions, Resource = "*" },
        {
          Effect    = "Deny"
          Action    = concat(local.network_actions, ["ec2:DetachNetworkInterface"])
          Resource  = "*"
          Condition = { ArnEquals = { "lambda:SourceFunctionArn" = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.name}" } }
        },
      ]
    }
  }
}

resource "aws_iam_role" "this" {
  count                = var.role_arn == "" ? 1 : 0
  name_prefix          = "${substr(var.name, 0, 31)}-Role-"
  permissions_boundary = var.permissions_boundary == "" ? null : var.permissions_boundary
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "lambda.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy" "this" {
  for_each = { for name, policy in local.policies : name => policy if policy.when && var.role_arn == "" }
  name     = each.key
  role     = aws_iam_role.this[0].id
  policy   = jsonencode({ Version = "2012-10-17", Statement = each.value.statements })
}
