{{/*
The least that the agent needs: read each secret, and describe those that are polled, so none with a versionId. A full ARN stays
as it is; otherwise six `?` stand for the six characters that AWS appends. AWS draws them from letters of both cases, so an ARN
that ends in six letters of one case may be complete, or may end in a word of the name: both forms are allowed. AWS looks for a
name in the caller's account. `freshmount plan` prints the same.
*/}}
{{- define "freshmount.iamPolicy" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if $it.enabled -}}
{{- $aws := $it.values.aws -}}
{{- $region := $it.config.region | default "" -}}
{{- $account := regexFind "[0-9]{12}" $aws.roleArn | default "*" -}}
{{- $partition := include "freshmount.partition" $region -}}
{{- if and $aws.roleArn (not $region) -}}
  {{- $partition = index (splitList ":" $aws.roleArn) 1 -}}
{{- end -}}
{{- $read := list -}}
{{- $describe := list -}}
{{- range $secret := $it.config.secrets -}}
  {{- $arn := $secret.secretId -}}
  {{- $arns := list (printf "%s-??????" $arn) -}}
  {{- $end := regexFind "-[A-Za-z0-9]{6}$" $arn -}}
  {{- if not (hasPrefix "arn:" $arn) -}}
    {{- $arns = list (printf "arn:%s:secretsmanager:%s:%s:secret:%s-??????" $partition ($region | default "*") $account $arn) -}}
  {{- else if and $end (or (eq $end (lower $end)) (eq $end (upper $end))) -}}
    {{- $arns = prepend $arns $arn -}}
  {{- else if $end -}}
    {{- $arns = list $arn -}}
  {{- end -}}
  {{- $read = concat $read $arns -}}
  {{- if not $secret.versionId -}}
    {{- $describe = concat $describe $arns -}}
  {{- end -}}
{{- end -}}
{{- $statements := list (dict "Effect" "Allow" "Action" "secretsmanager:GetSecretValue" "Resource" (uniq $read)) -}}
{{- if eq (len $describe) (len $read) -}}
  {{- $_ := set (first $statements) "Action" (list "secretsmanager:DescribeSecret" "secretsmanager:GetSecretValue") -}}
{{- else if $describe -}}
  {{- $statements = append $statements (dict "Effect" "Allow" "Action" "secretsmanager:DescribeSecret" "Resource" (uniq $describe)) -}}
{{- end -}}
{{- range $key := $aws.kmsKeyArns -}}
  {{- $where := index (splitList ":" $key) 3 -}}
  {{- $through := printf "secretsmanager.%s.amazonaws.com" $where -}}
  {{- with get (include "freshmount.suffixes" . | fromYaml) (include "freshmount.partition" $where) -}}
    {{- $through = list $through (printf "secretsmanager.%s.%s" $where .) -}}
  {{- end -}}
  {{- $statements = append $statements (dict "Effect" "Allow" "Action" "kms:Decrypt" "Resource" $key "Condition" (dict "StringEquals" (dict "kms:ViaService" $through))) -}}
{{- end -}}
{{- dict "Version" "2012-10-17" "Statement" $statements | toPrettyJson -}}
{{- end -}}
{{- end }}

{{/* The partition of a region. */}}
{{- define "freshmount.partition" -}}
{{- $region := . -}}
{{- $partition := "aws" -}}
{{- range $start, $of := dict "cn-" "aws-cn" "us-gov-" "aws-us-gov" "us-iso-" "aws-iso" "us-isob-" "aws-iso-b" "eu-isoe-" "aws-iso-e" "us-isof-" "aws-iso-f" "eusc-" "aws-eusc" -}}
  {{- if hasPrefix $start $region -}}{{- $partition = $of -}}{{- end -}}
{{- end -}}
{{- $partition -}}
{{- end }}

{{/* The domains of partitions with a domain of their own. There, a key's policy may name a service in either form. */}}
{{- define "freshmount.suffixes" -}}
aws-cn: amazonaws.com.cn
aws-iso: c2s.ic.gov
aws-iso-b: sc2s.sgov.gov
aws-iso-e: cloud.adc-e.uk
aws-iso-f: csp.hci.ic.gov
aws-eusc: amazonaws.eu
{{- end }}

{{- define "freshmount.notes" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if not $it.enabled -}}
Freshmount is off. Set {{ $it.key }}.enabled to true to turn it on.
{{- else -}}
{{- $values := $it.values -}}
Freshmount is on, as {{ $it.name }}:

  mode      {{ $it.mode }}: {{ get (dict
    "native" "one native sidecar; the app starts when the files are there"
    "init" "an init container fills the volume once; rotations are not noticed while the pod lives"
    "sidecar" "a plain sidecar; the app may start before its files are there"
    "both" "an init container fills the volume, a plain sidecar keeps it fresh") $it.mode }}
  files     {{ $it.config.volume.path }} in your containers, read-only
{{- range $it.config.secrets }}
            {{ .name }}: {{ range $i, $file := .files }}{{ if $i }}, {{ end }}{{ $file.path | default (printf "%s/" $file.directory) }}{{ end }}
{{- end }}
{{- if $it.runs }}
{{- range $it.config.notify }}
  notifies  {{ .name }}: {{ if .touch }}touch {{ .touch }}{{ else if .url }}POST {{ regexReplaceAll "[?#].*$" .url "" }}{{ else }}{{ .signal }} to {{ .process.name | default .process.pidFile }}{{ end }}
{{- end }}
{{- end }}
  config    ConfigMap {{ $it.fullname }}; a change {{ if $values.restartOnConfigChange }}restarts the pods{{ else if $it.runs }}needs no restart{{ else }}takes effect in new pods{{ end }}
{{- $objects := list -}}
{{- if $it.runs -}}
{{- if $values.podMonitor.enabled }}{{ $objects = append $objects "PodMonitor" }}{{ end -}}
{{- if $values.serviceMonitor.enabled }}{{ $objects = concat $objects (list "Service" "ServiceMonitor") }}{{ end -}}
{{- if $values.prometheusRule.enabled }}{{ $objects = append $objects "PrometheusRule" }}{{ end -}}
{{- if $values.dashboard.enabled }}{{ $objects = append $objects "dashboard" }}{{ end -}}
{{- end -}}
{{- if $values.networkPolicy.enabled }}{{ $objects = append $objects "NetworkPolicy" }}{{ end -}}
{{- with $objects }}
  objects   {{ join ", " . }}
{{- end }}

It needs this IAM policy:

{{ include "freshmount.iamPolicy" . | indent 2 }}
{{ if eq $values.aws.identity "irsa" }}
Attach it to {{ $values.aws.roleArn }}, and give the pod's ServiceAccount the annotation that
freshmount.serviceAccountAnnotations renders:

  eks.amazonaws.com/role-arn: {{ $values.aws.roleArn }}
{{- else if eq $values.aws.identity "podIdentity" }}
Attach it to a role that trusts pods.eks.amazonaws.com, and give that role to the pod's ServiceAccount:

  aws eks create-pod-identity-association --cluster-name CLUSTER --namespace {{ $it.namespace }} \
    --service-account SERVICE_ACCOUNT --role-arn ROLE_ARN
{{- else }}
Attach it to the role of the pod's ServiceAccount (aws.identity: irsa or podIdentity says how).
{{- end }}
{{- if and $it.config.notify (not $it.runs) }}

WARNING: an init container notifies no target, so config.notify has no effect here.
{{- end }}
{{- if and $it.runs $values.prometheusRule.enabled (not (or $values.podMonitor.enabled $values.serviceMonitor.enabled $values.prometheusRule.selector)) }}

WARNING: the alerts use series with job="{{ $it.namespace }}/{{ $it.fullname }}", but this release has neither a PodMonitor nor a
ServiceMonitor. Turn one on, or set prometheusRule.selector.
{{- end }}
{{- if $it.signal }}

WARNING: a signal reaches only processes of the agent's own uid, which is {{ with $it.user.runAsUser }}{{ int64 . }}.{{ else }}the pod's, or else 65532.{{ end }}
Run the app's container with the same uid, and include freshmount.shareProcessNamespace in the pod's spec. Until then the target
stays pending: freshmount_notification_pending is 1, and the agent's log says why.
{{- end }}
{{- if $values.networkPolicy.enabled }}

WARNING: the NetworkPolicy blocks all traffic of the pod that it does not list. List the app's own traffic in
networkPolicy.ingress and .egress, or in a policy of your own.
{{- end }}
{{- end -}}
{{- end }}
