"""The cluster's part, `freshmount controller`: ExternalSecrets, the hub, pushed Secrets. Of the extra `controller`."""
