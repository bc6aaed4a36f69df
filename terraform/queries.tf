resource "aws_cloudwatch_query_definition" "failures_by_rule" {
  name            = "${var.name}/failures by rule"
  log_group_names = [aws_cloudwatch_log_group.this.name]
  query_string    = <<-EOT
    filter message = "message failed"
    | stats count(*) as tries, count_distinct(message_id) as messages by rule, column, path
    | sort messages desc
  EOT
}

resource "aws_cloudwatch_query_definition" "slowest_batches" {
  name            = "${var.name}/slowest batches"
  log_group_names = [aws_cloudwatch_log_group.this.name]
  query_string    = <<-EOT
    filter message = "batch"
    | fields @timestamp, millis, received, stored, duplicates, stale, failed, retries, span.request_id
    | sort millis desc
    | limit 25
  EOT
}

resource "aws_cloudwatch_query_definition" "message_life" {
  name            = "${var.name}/one message's life"
  log_group_names = [aws_cloudwatch_log_group.this.name]
  query_string    = <<-EOT
    filter message_id = "put the message's id here"
    | fields @timestamp, attempt, message, rule, column, path, reason, span.request_id
    | sort @timestamp asc
  EOT
}
