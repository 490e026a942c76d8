"""`--push`: a Secret with our label is written to Secrets Manager before etcd sees it; what etcd sees is the ARN.

What holds, whatever happens:

- No value reaches etcd, a log, an event, a metric or an audit line of level Metadata. Where that is in doubt, the
  request is refused.
- AWS has the value before the API server gets its answer.
- One request is one version: its uid is AWS's client request token.
- Nothing is written for a review that the API server could not have sent.
"""
