# The parameters of template.yaml: the same names in snake case, defaults, values and rules, which a test compares.

# Secrets

variable "database_secret" {
  type        = string
  default     = "sqs-to-postgres/database"
  nullable    = false
  description = "Name or full ARN of the secret {\"engine\":\"postgres\",\"host\",\"port\",\"username\",\"password\",\"dbname\"} in Secrets Manager. One that RDS manages holds only username and password; db_host, db_port and db_name complete it."

  validation {
    condition     = length(var.database_secret) >= 1
    error_message = "It must not be empty."
  }
}

variable "mask_secret" {
  type        = string
  default     = ""
  nullable    = false
  description = "Name or full ARN of the secret {\"mask_key\":\"<base64>\"}, the key that masks personal data (openssl rand -base64 64). Required only if the mapping masks with hmac-sha256 or aes-siv."
}

variable "secrets_kms_key_arns" {
  type        = list(string)
  default     = []
  nullable    = false
  description = "ARNs of the customer managed KMS keys (not of aliases) that encrypt the secrets. Their key policies must allow the account's roles. If empty, the secrets are encrypted with the key that AWS manages."

  validation {
    condition     = alltrue([for given in var.secrets_kms_key_arns : can(regex("^((arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[a-z0-9-]+)?)$", given))])
    error_message = "They must be ARNs of keys (each contains \":key/\"), not of aliases."
  }
}

# IAM authentication instead of a database secret

variable "database_authentication" {
  type        = string
  default     = "password"
  nullable    = false
  description = "With \"password\", the function uses the password in database_secret. With \"iam\", the function signs tokens instead, and reads no database secret. \"iam\" requires db_host, db_name, db_user and db_resource_id, and db_ssl_mode \"verify-full\"."

  validation {
    condition     = contains(["password", "iam"], var.database_authentication)
    error_message = "The values are password, iam."
  }

  validation {
    condition     = var.database_authentication != "iam" || alltrue([for given in [var.db_host, var.db_name, var.db_user, var.db_resource_id] : given != ""])
    error_message = "database_authentication = \"iam\" requires db_host, db_name, db_user and db_resource_id."
  }

  validation {
    condition     = var.database_authentication != "iam" || var.db_ssl_mode == "verify-full"
    error_message = "database_authentication = \"iam\" requires db_ssl_mode = \"verify-full\". Whoever receives a token can log in with it."
  }

  validation {
    condition     = var.database_authentication != "iam" || var.db_channel_binding != "require"
    error_message = "database_authentication = \"iam\" excludes db_channel_binding = \"require\", which is for passwords."
  }
}

variable "db_user" {
  type        = string
  default     = ""
  nullable    = false
  description = "With \"iam\": the role of Postgres, to which rds_iam is granted, or which is linked to the role of the function by AWS IAM GRANT (Aurora DSQL)."
}

variable "db_resource_id" {
  type        = string
  default     = ""
  nullable    = false
  description = "With \"iam\": the resource ID of the DB instance (db-...), of the Aurora cluster (cluster-...) or of the RDS Proxy (prx-...), or the identifier of the Aurora DSQL cluster. The function may connect to this one only. It must be of this account and Region."

  validation {
    condition     = can(regex("^([A-Za-z0-9-]*)$", var.db_resource_id))
    error_message = "It must match [A-Za-z0-9-]*."
  }
}

# Postgres, overriding its secret

variable "db_host" {
  type        = string
  default     = ""
  nullable    = false
  description = "Host of Postgres, or of the RDS Proxy in front of it. Overrides the secret's host."
}

variable "db_port" {
  type        = string
  default     = ""
  nullable    = false
  description = "Port of Postgres. Overrides the secret's port."

  validation {
    condition     = can(regex("^([0-9]*)$", var.db_port))
    error_message = "It must match [0-9]*."
  }
}

variable "db_name" {
  type        = string
  default     = ""
  nullable    = false
  description = "Name of the database. Overrides the secret's dbname."
}

variable "db_ssl_mode" {
  type        = string
  default     = "verify-full"
  nullable    = false
  description = "How the connection to Postgres is secured. \"verify-ca\" accepts any host name, and needs db_ssl_root_cert. \"require\" encrypts, but does not verify the server: an attacker on the network path can read the password and the rows."

  validation {
    condition     = contains(["verify-full", "verify-ca", "require", "disable"], var.db_ssl_mode)
    error_message = "The values are verify-full, verify-ca, require, disable."
  }
}

variable "db_ssl_root_cert" {
  type        = string
  default     = ""
  nullable    = false
  description = "PEM file of the certificate authorities to trust instead of the system's. The exception is /var/task/ca.pem, which exists if the function was built with CA_BUNDLE: with \"verify-full\" it is trusted in addition. RDS needs it because Amazon's own authority signs its certificates; RDS Proxy does not."

  validation {
    condition     = var.db_ssl_mode != "verify-ca" || var.db_ssl_root_cert != ""
    error_message = "db_ssl_mode = \"verify-ca\" needs db_ssl_root_cert. Without it a certificate from any public authority is accepted."
  }
}

variable "db_channel_binding" {
  type        = string
  default     = "prefer"
  nullable    = false
  description = "With \"require\" the password is sent only as a SCRAM proof that is bound to the TLS connection, so that it is safe even if the server is not verified. Poolers and RDS Proxy may not support it."

  validation {
    condition     = contains(["require", "prefer", "disable"], var.db_channel_binding)
    error_message = "The values are require, prefer, disable."
  }
}

# Network

variable "subnet_ids" {
  type        = list(string)
  default     = []
  nullable    = false
  description = "Private subnets from which Postgres can be reached. If empty, the function runs outside a VPC. The subnets also need network access to Secrets Manager and SQS: interface endpoints, dual_stack or a NAT gateway."
}

variable "security_group_ids" {
  type        = list(string)
  default     = []
  nullable    = false
  description = "Security groups of the function. Required with subnet_ids."

  validation {
    condition     = length(var.subnet_ids) == 0 || length(var.security_group_ids) > 0
    error_message = "subnet_ids requires security_group_ids."
  }

  validation {
    condition     = length(var.security_group_ids) == 0 || length(var.subnet_ids) > 0
    error_message = "security_group_ids requires subnet_ids. Without subnets the function would run outside the VPC."
  }
}

variable "dual_stack" {
  type        = bool
  default     = false
  nullable    = false
  description = "Whether the function reaches Secrets Manager and SQS over IPv6. The subnets must be dual-stack, with a route to an egress-only internet gateway, which costs nothing per hour; interface endpoints are then unnecessary."

  validation {
    condition     = !var.dual_stack || length(var.subnet_ids) > 0
    error_message = "dual_stack requires subnet_ids."
  }
}

# A new queue

variable "queue_name" {
  type        = string
  default     = ""
  nullable    = false
  description = "Name of the queue to create, by default the name of the stack. The name of its dead-letter queue has the suffix \"-dlq\"; FIFO queues also get the suffix \".fifo\"."

  validation {
    condition     = can(regex("^([A-Za-z0-9_-]*)$", var.queue_name))
    error_message = "It must match [A-Za-z0-9_-]*."
  }

  validation {
    condition     = length(var.queue_name) <= 71
    error_message = "It has at most 71 characters."
  }
}

variable "queue_type" {
  type        = string
  default     = "standard"
  nullable    = false
  description = "\"fifo\" keeps the order within each message group: batches of at most 10 messages, without a batching window. A new FIFO queue has high throughput, so its deduplication is by message group."

  validation {
    condition     = contains(["standard", "fifo"], var.queue_type)
    error_message = "The values are standard, fifo."
  }
}

variable "content_based_deduplication" {
  type        = bool
  default     = false
  nullable    = false
  description = "Whether the new FIFO queue recognises a repeated message by its body if the sender gives no deduplication ID. EventBridge requires \"true\"."

  validation {
    condition     = !var.content_based_deduplication || (var.queue_type == "fifo" && var.queue_arn == "")
    error_message = "content_based_deduplication requires queue_type = \"fifo\", and a new queue."
  }
}

variable "queue_kms_key_arn" {
  type        = string
  default     = ""
  nullable    = false
  description = "ARN of a customer managed KMS key (not of an alias). It encrypts the queues that the template creates; for an existing queue, name the key that encrypts it. If empty, SQS's own key is used. The key policy must allow everyone who sends to the queue."

  validation {
    condition     = can(regex("^((arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[a-z0-9-]+)?)$", var.queue_kms_key_arn))
    error_message = "It must be the ARN of a key (it contains \":key/\"), not of an alias."
  }
}

variable "sender_arns" {
  type        = list(string)
  default     = []
  nullable    = false
  description = "ARNs of SNS topics and EventBridge rules that may send to the new queue. With queue_kms_key_arn, the key policy must also allow their services. Principals of IAM need no entry."

  validation {
    condition     = alltrue([for given in var.sender_arns : can(regex("^((arn:[a-z-]+:(sns|events):.+)?)$", given))])
    error_message = "It must match (arn:[a-z-]+:(sns|events):.+)?."
  }
}

variable "bucket_arns" {
  type        = list(string)
  default     = []
  nullable    = false
  description = "ARNs of S3 buckets of this account that may send notifications to the new queue, which must be a standard queue. With queue_kms_key_arn, the key policy must also allow S3."

  validation {
    condition     = alltrue([for given in var.bucket_arns : can(regex("^((arn:[a-z-]+:s3:::.+)?)$", given))])
    error_message = "It must match (arn:[a-z-]+:s3:::.+)?."
  }

  validation {
    condition     = length(var.bucket_arns) == 0 || var.queue_type == "standard"
    error_message = "bucket_arns requires queue_type = \"standard\". S3 does not send notifications to FIFO queues."
  }
}

variable "topic_arn" {
  type        = string
  default     = ""
  nullable    = false
  description = "ARN of an SNS topic to which the new queue is subscribed. The mapping needs envelope = \"sns\". A topic of another account must allow this one to subscribe. What a topic of this Region cannot deliver goes to the dead-letter queue."

  validation {
    condition     = can(regex("^((arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:.+)?)$", var.topic_arn))
    error_message = "It must match (arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:.+)?."
  }
}

# An existing queue instead

variable "queue_arn" {
  type        = string
  default     = ""
  nullable    = false
  description = "ARN of an existing queue, which may be of another account. If empty, a queue is created. The template does not change an existing queue: set its visibility timeout and maxReceiveCount to the values of the profile yourself."

  validation {
    condition     = can(regex("^((arn:[a-z-]+:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+([.]fifo)?)?)$", var.queue_arn))
    error_message = "It must match (arn:[a-z-]+:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+([.]fifo)?)?."
  }

  validation {
    condition     = var.queue_arn == "" || (length(var.sender_arns) + length(var.bucket_arns) == 0 && var.topic_arn == "")
    error_message = "sender_arns, bucket_arns and topic_arn are for a new queue. Change the policy of an existing queue, and subscribe it, yourself."
  }
}

variable "dead_letter_queue_arn" {
  type        = string
  default     = ""
  nullable    = false
  description = "ARN of the dead-letter queue in that queue's redrive policy. Required with queue_arn."

  validation {
    condition     = can(regex("^((arn:[a-z-]+:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+([.]fifo)?)?)$", var.dead_letter_queue_arn))
    error_message = "It must match (arn:[a-z-]+:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+([.]fifo)?)?."
  }

  validation {
    condition     = var.queue_arn == "" || var.dead_letter_queue_arn != ""
    error_message = "queue_arn requires dead_letter_queue_arn. Without a dead-letter queue a bad message would be retried until SQS deletes it."
  }
}

# Large messages in S3

variable "pointer_bucket_arns" {
  type        = list(string)
  default     = []
  nullable    = false
  description = "ARNs of the S3 buckets that the mapping names in s3_pointers, for messages that an SQS extended client moved to S3. The function may read their objects."

  validation {
    condition     = alltrue([for given in var.pointer_bucket_arns : can(regex("^((arn:[a-z-]+:s3:::[a-z0-9.-]+)?)$", given))])
    error_message = "It must match (arn:[a-z-]+:s3:::[a-z0-9.-]+)?."
  }
}

# Throughput and failures

variable "profile" {
  type        = string
  default     = "standard"
  nullable    = false
  description = "\"low-latency\": a row within a second. \"standard\": larger batches, filled for up to five seconds. \"bulk\": fewest invocations and connections, for large volumes. \"try-out\": short times, to see a dead letter within seconds."

  validation {
    condition     = contains(["low-latency", "standard", "bulk", "try-out"], var.profile)
    error_message = "The values are low-latency, standard, bulk, try-out."
  }
}

variable "max_concurrency" {
  type        = number
  default     = 0
  nullable    = false
  description = "Maximum number of batches in flight at once, each with its own connection to Postgres: from 2 to 1000, or 0 for the profile's number."

  validation {
    condition     = var.max_concurrency >= 0 && var.max_concurrency <= 1000 && floor(var.max_concurrency) == var.max_concurrency
    error_message = "It is a whole number from 0 to 1000."
  }

  validation {
    condition     = var.max_concurrency != 1
    error_message = "Lambda's minimum for max_concurrency is 2."
  }
}

variable "dead_letters" {
  type        = string
  default     = "auto"
  nullable    = false
  description = "How a message that cannot be stored reaches the dead-letter queue. \"direct\", or \"auto\", which means the same: the function sends it there itself, with the reason as an attribute. What the mapping rejects goes at once; what Postgres refuses, or a mapping that rejects everything, from the third delivery on. \"redrive\": SQS moves it after its last try; on a FIFO queue SQS also moves the valid messages behind it in its group."

  validation {
    condition     = contains(["auto", "redrive", "direct"], var.dead_letters)
    error_message = "The values are auto, redrive, direct."
  }
}

# Function

variable "architecture" {
  type        = string
  default     = "x86_64"
  nullable    = false
  description = "Processor architecture of the function, which must be built for the same one."

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "The values are x86_64, arm64."
  }
}

variable "log_level" {
  type        = string
  default     = "INFO"
  nullable    = false
  description = "Minimum level of the function's log lines. Above INFO, Lambda would also drop the metrics, which are log lines without a level, and no alarm would fire."

  validation {
    condition     = contains(["TRACE", "DEBUG", "INFO"], var.log_level)
    error_message = "The values are TRACE, DEBUG, INFO."
  }
}

variable "log_retention_days" {
  type        = number
  default     = 30
  nullable    = false
  description = "Days after which log lines are deleted."

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "The values are 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

variable "tracing" {
  type        = string
  default     = "PassThrough"
  nullable    = false
  description = "With \"Active\", X-Ray records traces of the function, which continue the traces of senders."

  validation {
    condition     = contains(["PassThrough", "Active"], var.tracing)
    error_message = "The values are PassThrough, Active."
  }
}

variable "role_arn" {
  type        = string
  default     = ""
  nullable    = false
  description = "ARN of an existing role for the function. docs/DEPLOY.md lists what it must allow. If empty, a role is created."

  validation {
    condition     = can(regex("^((arn:[a-z-]+:iam::[0-9]{12}:role/.+)?)$", var.role_arn))
    error_message = "It must match (arn:[a-z-]+:iam::[0-9]{12}:role/.+)?."
  }
}

variable "permissions_boundary" {
  type        = string
  default     = ""
  nullable    = false
  description = "ARN of the permissions boundary of the created role, if your account demands one."

  validation {
    condition     = can(regex("^((arn:[a-z-]+:iam::([0-9]{12}|aws):policy/.+)?)$", var.permissions_boundary))
    error_message = "It must match (arn:[a-z-]+:iam::([0-9]{12}|aws):policy/.+)?."
  }

  validation {
    condition     = var.permissions_boundary == "" || var.role_arn == ""
    error_message = "permissions_boundary is for the role that is created. Set the boundary of role_arn yourself."
  }
}

# Updates

variable "gradual_deployment" {
  type        = string
  default     = "Disabled"
  nullable    = false
  description = "With \"Disabled\", an update replaces the function at once. With another value, the function is published as versions, the queue invokes the alias \"live\", and the alias moves to each new version in these steps. CodeDeploy takes it back if FailedMessagesAlarm or ErrorsAlarm fires, except with \"AllAtOnce\"."

  validation {
    condition     = contains(["Disabled", "AllAtOnce", "Canary10Percent5Minutes", "Canary10Percent10Minutes", "Canary10Percent15Minutes", "Canary10Percent30Minutes", "Linear10PercentEvery1Minute", "Linear10PercentEvery2Minutes", "Linear10PercentEvery3Minutes", "Linear10PercentEvery10Minutes"], var.gradual_deployment)
    error_message = "The values are Disabled, AllAtOnce, Canary10Percent5Minutes, Canary10Percent10Minutes, Canary10Percent15Minutes, Canary10Percent30Minutes, Linear10PercentEvery1Minute, Linear10PercentEvery2Minutes, Linear10PercentEvery3Minutes, Linear10PercentEvery10Minutes."
  }
}

# Alarms and log

variable "alarm_email" {
  type        = string
  default     = ""
  nullable    = false
  description = "E-mail address for alarms. Its owner must first confirm the subscription in the e-mail from AWS."

  validation {
    condition     = can(regex("^(([^@ ]+@[^@ ]+)?)$", var.alarm_email))
    error_message = "It must match ([^@ ]+@[^@ ]+)?."
  }
}

variable "alarm_topic_arn" {
  type        = string
  default     = ""
  nullable    = false
  description = "ARN of an SNS topic for alarms, in addition to or instead of the address. With neither, alarms only appear on the dashboard."

  validation {
    condition     = can(regex("^((arn:.+:sns:.+)?)$", var.alarm_topic_arn))
    error_message = "It must match (arn:.+:sns:.+)?."
  }
}

variable "silence_minutes" {
  type        = number
  default     = 0
  nullable    = false
  description = "After how many minutes without a new message an alarm fires, at most 1440, or 0 for no such alarm. For producers that send at all hours."

  validation {
    condition     = var.silence_minutes >= 0 && var.silence_minutes <= 1440 && floor(var.silence_minutes) == var.silence_minutes
    error_message = "It is a whole number from 0 to 1440."
  }
}

variable "monitoring_kms_key_arn" {
  type        = string
  default     = ""
  nullable    = false
  description = "ARN of a customer managed KMS key (not of an alias) that encrypts the log group, and the topic of alarm_email. Its key policy must allow CloudWatch Logs of this Region and CloudWatch. If empty, AWS's own keys are used."

  validation {
    condition     = can(regex("^((arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[a-z0-9-]+)?)$", var.monitoring_kms_key_arn))
    error_message = "It must be the ARN of a key (it contains \":key/\"), not of an alias."
  }
}

# Only of the module: what CloudFormation knows as the name of the stack and the code in a bucket.

variable "name" {
  type        = string
  nullable    = false
  description = "Name of the function, and of the queue unless queue_name names it."

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9-]{0,63}$", var.name))
    error_message = "It begins with a letter, then has at most 63 letters, digits and hyphens."
  }
}

variable "package" {
  type        = string
  nullable    = false
  description = "Path of the released zip for the architecture, with your pipeline.toml in it: zip -j sqs-to-postgres-….zip pipeline.toml"
}
