# EventBridge's events for the hub: a queue, the rule that fills it, and what the hub's role needs beside.
# The hub is started with --events-queue and the output queue_url. Once for each region and each replica of the hub.

variable "hub_role_name" {
  description = "The role of the hub (IRSA or EKS Pod Identity); gets the policy below"
  type        = string
}

variable "secret_arns" {
  description = "The secrets of this cluster, as ARNs; * may stand at the end"
  type        = list(string)
}

variable "parameter_arns" {
  description = "The parameters of this cluster, as ARNs; * may stand at the end"
  type        = list(string)
}

resource "aws_sqs_queue" "hub" {
  name_prefix                = "freshmount-hub-"
  message_retention_seconds  = 3600 # older news is known by then: the hub looks by itself
  sqs_managed_sse_enabled    = true
  visibility_timeout_seconds = 60
  receive_wait_time_seconds  = 20
}

resource "aws_cloudwatch_event_rule" "hub" {
  name_prefix = "freshmount-hub-"
  description = "A version of a secret or a parameter moved"
  event_pattern = jsonencode({
    source      = ["aws.secretsmanager", "aws.ssm"]
    detail-type = ["Secret Label Updated", "Parameter Store Change"]
  })
}

resource "aws_cloudwatch_event_target" "hub" {
  rule = aws_cloudwatch_event_rule.hub.name
  arn  = aws_sqs_queue.hub.arn
}

resource "aws_sqs_queue_policy" "hub" {
  queue_url = aws_sqs_queue.hub.url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.hub.arn
        Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.hub.arn } }
      },
      {
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.hub.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_iam_role_policy" "hub" {
  name = "freshmount-hub"
  role = var.hub_role_name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "secretsmanager:DescribeSecret", Resource = var.secret_arns },
      { Effect = "Allow", Action = "ssm:GetParameters", Resource = var.parameter_arns },
      { Effect = "Allow", Action = ["sqs:ReceiveMessage", "sqs:DeleteMessage"], Resource = aws_sqs_queue.hub.arn },
    ]
  })
}

output "queue_url" {
  description = "For --events-queue"
  value       = aws_sqs_queue.hub.url
}
