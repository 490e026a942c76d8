{{/*
The least that the agent needs: read each secret, and describe those that are polled, so none with a versionId. A full ARN stays
as it is; otherwise six `?` stand for the six characters that AWS appends. AWS draws them from letters of both cases, so an ARN
that ends in six letters of one case may be complete, or may end in a word of the name: both forms are allowed. AWS looks for a
name in the caller's account. With roles this is what the pod's own identity needs.
`freshmount plan` prints the same, and the policy of each role.
*/}}
{{- define "freshmount.iamPolicy" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if $it.agent -}}
{{- $aws := $it.values.aws -}}
{{- $region := $it.config.region | default "" -}}
{{- $account := regexFind "[0-9]{12}" $aws.roleArn | default "*" -}}
{{- $partition := include "freshmount.partition" $region -}}
{{- if and $aws.roleArn (not $region) -}}
  {{- $partition = index (splitList ":" $aws.roleArn) 1 -}}
{{- end -}}
{{- $read := list -}}
{{- $describe := list -}}
{{- $found := list -}}
{{- $named := list -}}
{{- $beneath := list -}}
{{- $assume := list -}}
{{- $tagged := list -}}
{{- $services := list -}}
{{- range $secret := $it.config.secrets -}}
  {{- $home := dict "region" $region "partition" $partition "account" $account "roles" (ternary $secret.roleArn $it.config.roleArn (hasKey $secret "roleArn")) "tags" (ternary $secret.sessionTags ($secret.sessionTags | default $it.config.sessionTags) (hasKey $secret "roleArn")) -}}
  {{- $places := list $home -}}
  {{- range $replica := ternary (list $secret.failover) ($secret.failover | default list) (kindIs "map" $secret.failover) -}}
    {{- $place := dict "region" $replica.region "partition" (include "freshmount.partition" $replica.region) "account" $account "replica" $replica -}}
    {{- $_ := set $place "roles" (ternary $replica.roleArn $home.roles (hasKey $replica "roleArn")) -}}
    {{- $_ := set $place "tags" (ternary $replica.sessionTags ($replica.sessionTags | default $home.tags) (hasKey $replica "roleArn")) -}}
    {{- $places = append $places $place -}}
  {{- end -}}
  {{- range $place := $places -}}
    {{- $replica := $place.replica | default dict -}}
    {{- $roles := ternary (list $place.roles) ($place.roles | default list) (kindIs "string" $place.roles) -}}
    {{- if $roles -}}
      {{- if and $place.tags (eq (len $roles) 1) -}}{{- $tagged = append $tagged (first $roles) -}}
      {{- else -}}{{- $assume = append $assume (first $roles) -}}{{- end -}}
    {{- end -}}
    {{- $call := dict "place" $place "replica" $replica -}}
    {{- $where := $place.region | default "*" -}}
    {{- if $secret.secretId -}}
      {{- $services = append $services "secretsmanager" -}}
      {{- $arns := include "freshmount.secretResources" (merge (dict "id" ($replica.secretId | default $secret.secretId)) $call) | fromJsonArray -}}
      {{- if not $roles -}}
        {{- $read = concat $read $arns -}}
        {{- if not $secret.versionId -}}{{- $describe = concat $describe $arns -}}{{- end -}}
      {{- end -}}
    {{- else if $secret.find -}}
      {{- $services = append $services "secretsmanager" -}}
      {{- if not $roles -}}
        {{- $found = append $found (printf "arn:%s:secretsmanager:%s:%s:secret:%s*" $place.partition $where $account ($secret.find.path | default "")) -}}
      {{- end -}}
    {{- else if $secret.parameter -}}
      {{- $services = append $services "ssm" -}}
      {{- $id := $replica.parameter | default $secret.parameter -}}
      {{- if not $roles -}}
        {{- $named = append $named (ternary (include "freshmount.inRegion" (merge (dict "id" $id) $call)) (printf "arn:%s:ssm:%s:%s:parameter/%s" $place.partition $where $account (trimPrefix "/" $id)) (hasPrefix "arn:" $id)) -}}
      {{- end -}}
    {{- else if not $secret.parameters -}}
      {{- fail (printf "freshmount: the IAM policy for the secret %q is not known to this chart, only that of secretId, find, parameter and parameters: take the one that freshmount plan prints" $secret.name) -}}
    {{- else -}}
      {{- $services = append $services "ssm" -}}
      {{- $path := trimAll "/" ($replica.parameters | default $secret.parameters) -}}
      {{- $under := printf "arn:%s:ssm:%s:%s:parameter/" $place.partition $where $account -}}
      {{- if not $roles -}}
        {{- $beneath = concat $beneath (ternary (list (print $under $path) (print $under $path "/*")) (list (print $under "*")) (ne $path "")) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $statements := list -}}
{{- if and $read (eq (len $describe) (len $read)) -}}
  {{- $statements = append $statements (dict "Effect" "Allow" "Action" (list "secretsmanager:DescribeSecret" "secretsmanager:GetSecretValue") "Resource" (uniq $read)) -}}
{{- else if $read -}}
  {{- $statements = append $statements (dict "Effect" "Allow" "Action" "secretsmanager:GetSecretValue" "Resource" (uniq $read)) -}}
  {{- with $describe -}}{{- $statements = append $statements (dict "Effect" "Allow" "Action" "secretsmanager:DescribeSecret" "Resource" (uniq .)) -}}{{- end -}}
{{- end -}}
{{- if and $describe (not $found) (eq (($it.config.hub | default dict).ownLooks | default "describe") "list") -}}
  {{- $statements = append $statements (dict "Effect" "Allow" "Action" "secretsmanager:ListSecrets" "Resource" (list "*")) -}}
{{- end -}}
{{- with $found -}}
  {{- $statements = append $statements (dict "Effect" "Allow" "Action" (list "secretsmanager:ListSecrets" "secretsmanager:BatchGetSecretValue") "Resource" (list "*")) -}}
  {{- $statements = append $statements (dict "Effect" "Allow" "Action" "secretsmanager:GetSecretValue" "Resource" (uniq .)) -}}
{{- end -}}
{{- with $named -}}{{- $statements = append $statements (dict "Effect" "Allow" "Action" "ssm:GetParameters" "Resource" (uniq .)) -}}{{- end -}}
{{- with $beneath -}}{{- $statements = append $statements (dict "Effect" "Allow" "Action" "ssm:GetParametersByPath" "Resource" (uniq .)) -}}{{- end -}}
{{- with $assume -}}{{- $statements = append $statements (dict "Effect" "Allow" "Action" "sts:AssumeRole" "Resource" (uniq .)) -}}{{- end -}}
{{- with $tagged -}}{{- $statements = append $statements (dict "Effect" "Allow" "Action" (list "sts:AssumeRole" "sts:TagSession") "Resource" (uniq .)) -}}{{- end -}}
{{- range $key := $aws.kmsKeyArns -}}
  {{- $where := index (splitList ":" $key) 3 -}}
  {{- $through := list -}}
  {{- $domain := get (include "freshmount.suffixes" . | fromYaml) (include "freshmount.partition" $where) -}}
  {{- range $service := uniq $services | sortAlpha -}}
    {{- $through = append $through (printf "%s.%s.amazonaws.com" $service $where) -}}
    {{- if $domain -}}{{- $through = append $through (printf "%s.%s.%s" $service $where $domain) -}}{{- end -}}
  {{- end -}}
  {{- if eq (len $through) 1 -}}{{- $through = first $through -}}{{- end -}}
  {{- $statements = append $statements (dict "Effect" "Allow" "Action" "kms:Decrypt" "Resource" $key "Condition" (dict "StringEquals" (dict "kms:ViaService" $through))) -}}
{{- end -}}
{{- dict "Version" "2012-10-17" "Statement" $statements | toPrettyJson -}}
{{- end -}}
{{- end }}

{{/* A secret of Secrets Manager, as a policy names it: its `id` at a `place`, which a `replica` may be. A list, as JSON. */}}
{{- define "freshmount.secretResources" -}}
{{- $arn := .id -}}
{{- $arns := list -}}
{{- if hasPrefix "arn:" $arn -}}
  {{- $arn = include "freshmount.inRegion" . -}}
  {{- $arns = list (printf "%s-??????" $arn) -}}
  {{- $end := regexFind "-[A-Za-z0-9]{6}$" $arn -}}
  {{- if and $end (or (eq $end (lower $end)) (eq $end (upper $end))) -}}
    {{- $arns = prepend $arns $arn -}}
  {{- else if $end -}}
    {{- $arns = list $arn -}}
  {{- end -}}
{{- else -}}
  {{- $arns = list (printf "arn:%s:secretsmanager:%s:%s:secret:%s-??????" .place.partition (.place.region | default "*") .place.account $arn) -}}
{{- end -}}
{{- toJson $arns -}}
{{- end }}

{{/* The ARN `id`, of a `replica` in its region: it differs in that alone. */}}
{{- define "freshmount.inRegion" -}}
{{- if .replica.region -}}
  {{- regexReplaceAll "^(arn:[^:]*:[^:]*:)[^:]*:" .id (printf "${1}%s:" .replica.region) -}}
{{- else -}}
  {{- .id -}}
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
{{- else if not $it.agent -}}
Freshmount is on, as {{ $it.name }}:

  mode      secret: no agent; kubelet mounts a Secret in its place, and the app starts when that is there
  files     {{ $it.config.volume.path }} in your containers, read-only: the keys of Secret {{ $it.values.secretName }}

A change of the Secret is in the files when kubelet next looks, within a minute or two. No target is notified. The
pod needs no access to AWS. If pods wait in ContainerCreating, look for the Secret:

  kubectl --namespace {{ $it.namespace }} get secret {{ $it.values.secretName }}
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
