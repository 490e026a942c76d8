{{/* `resolve` refuses mode init for a whole chart. This is a Job, where a plain sidecar has become an init container. */}}
{{- define "freshmount.monitored" -}}
{{- if not .it.runs -}}
{{- fail (printf "freshmount: %s.%s.enabled is true, but this call is for a Job, where a plain sidecar becomes an init container, which cannot be scraped: set it to false there, or set config.exitWith, or use mode native" .it.key .name) -}}
{{- end -}}
{{- end }}

{{- define "freshmount.podMonitor" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if and $it.enabled $it.values.podMonitor.enabled -}}
{{- include "freshmount.monitored" (dict "it" $it "name" "podMonitor") -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ $it.fullname }}
  labels:
    {{- merge dict $it.values.podMonitor.labels $it.labels | toYaml | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- toYaml $it.selectorLabels | nindent 6 }}
  podMetricsEndpoints:
    - port: {{ $it.portName }}
      path: /metrics
      {{- with $it.values.podMonitor.interval }}
      interval: {{ . }}
      {{- end }}
{{- end -}}
{{- end }}

{{- /* A ServiceMonitor finds pods through a Service. This one has no address and no other use. */ -}}
{{- define "freshmount.service" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if and $it.enabled $it.values.serviceMonitor.enabled -}}
{{- include "freshmount.monitored" (dict "it" $it "name" "serviceMonitor") -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "freshmount.metadata" $it | nindent 2 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- toYaml $it.selectorLabels | nindent 4 }}
  ports:
    - {name: {{ $it.portName }}, port: {{ $it.port }}, targetPort: {{ $it.portName }}}
{{- end -}}
{{- end }}

{{- define "freshmount.serviceMonitor" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if and $it.enabled $it.values.serviceMonitor.enabled -}}
{{- include "freshmount.monitored" (dict "it" $it "name" "serviceMonitor") -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ $it.fullname }}
  labels:
    {{- merge dict $it.values.serviceMonitor.labels $it.labels | toYaml | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- toYaml $it.labels | nindent 6 }}
  endpoints:
    - port: {{ $it.portName }}
      path: /metrics
      {{- with $it.values.serviceMonitor.interval }}
      interval: {{ . }}
      {{- end }}
      relabelings:  # the name that a PodMonitor's job has by itself, so that the alerts find either
        - {targetLabel: job, replacement: {{ printf "%s/%s" $it.namespace $it.fullname | quote }}}
{{- end -}}
{{- end }}

{{- define "freshmount.prometheusRule" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if and $it.enabled $it.values.prometheusRule.enabled -}}
{{- include "freshmount.monitored" (dict "it" $it "name" "prometheusRule") -}}
{{- $rule := $it.values.prometheusRule -}}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {{ $it.fullname }}
  labels:
    {{- merge dict $rule.labels $it.labels | toYaml | nindent 4 }}
spec:
  groups:
    - name: {{ $it.fullname }}
      rules:
        {{- range $name, $alert := include "freshmount.alerts" $it | fromYaml }}
        {{- $set := index $rule.alerts $name }}
        {{- if $set.enabled }}
        - alert: {{ $alert.alert }}
          expr: |
            {{- $alert.expr | trim | nindent 12 }}
          for: {{ $set.for }}
          labels: {severity: {{ $set.severity | quote }}}
          annotations:
            summary: {{ $alert.summary | quote }}
            {{- if $rule.runbookUrl }}
            description: {{ $alert.description | quote }}
            runbook_url: {{ printf "%s#%s" (trimSuffix "#" $rule.runbookUrl) (lower $alert.alert) | quote }}
            {{- else }}
            description: {{ printf "%s What to do: section %s of docs/runbook.md in Freshmount's repository." $alert.description $alert.alert | quote }}
            {{- end }}
        {{- end }}
        {{- end }}
{{- end -}}
{{- end }}

{{- /* The values that an alert needs while it is on. */ -}}
{{- define "freshmount.alerts.needs" -}}
secretStale: [severity, for, periods, seconds]
refreshFailing: [severity, for]
accessDenied: [severity, for, window]
rotationOverdue: [severity, for, seconds]
notificationPending: [severity, for]
replicasDisagree: [severity, for]
configReloadFailed: [severity, for]
loopStuck: [severity, for, periods, seconds]
absent: [severity, for]
hubAway: [severity, for]
{{- end }}

{{- /*
The alerts by their name in values. Each reports one thing, so that one fault fires one alert: a denied call does not fire the
alert for a failing refresh, too, and a secret is stale only after either has lasted. If the alert for denied calls is off, a
denied call is a failing refresh.
*/ -}}
{{- define "freshmount.alerts" -}}
{{- $rule := .values.prometheusRule -}}
{{- $set := $rule.alerts -}}
{{- $series := $rule.selector | default (printf "job=%q" (printf "%s/%s" .namespace .fullname)) -}}
{{- $denied := printf "ignoring (reason) increase(freshmount_secret_errors_total{%s,reason=\"access_denied\"}[%s]) > 0" $series ($set.accessDenied.window | default "") -}}
secretStale:
  alert: FreshmountSecretStale
  expr: |
    time() - freshmount_secret_last_success_timestamp_seconds{ {{- $series -}} }
      > clamp_min({{ $set.secretStale.periods }} * freshmount_secret_period_seconds{ {{- $series -}} }, {{ $set.secretStale.seconds }})
  summary: Secret {{ "{{ $labels.secret }}" }} in {{ "{{ $labels.pod }}" }} is not known to be current.
  description: AWS has not confirmed it for {{ "{{ $value | humanizeDuration }}" }}. The app keeps the last good value, which a rotation may have made invalid.
refreshFailing:
  alert: FreshmountRefreshFailing
  expr: |
    freshmount_secret_up_to_date{ {{- $series -}} } == 0
      {{- if $set.accessDenied.enabled }}
      unless {{ $denied }}
      {{- end }}
  summary: Secret {{ "{{ $labels.secret }}" }} in {{ "{{ $labels.pod }}" }} cannot be refreshed.
  description: The app keeps the last good value. freshmount_secret_errors_total has the reason, the agent's log and /readyz the sentence.
accessDenied:
  alert: FreshmountAccessDenied
  expr: |
    freshmount_secret_up_to_date{ {{- $series -}} } == 0
      and {{ $denied }}
  summary: AWS denies {{ "{{ $labels.pod }}" }} the secret {{ "{{ $labels.secret }}" }}.
  description: The app keeps the last good value; a new pod would not start. The agent's log names the caller and the missing statement.
rotationOverdue:
  alert: FreshmountRotationOverdue
  expr: |
    max by (namespace, secret) (time() - freshmount_secret_next_rotation_timestamp_seconds{ {{- $series -}} })
      > {{ $set.rotationOverdue.seconds }}
  summary: AWS has not rotated secret {{ "{{ $labels.secret }}" }} when it was due.
  description: The rotation has been overdue for {{ "{{ $value | humanizeDuration }}" }}. The rotation itself fails, not the publishing of its result.
notificationPending:
  alert: FreshmountNotificationPending
  expr: freshmount_notification_pending{ {{- $series -}} } == 1
  summary: Target {{ "{{ $labels.target }}" }} in {{ "{{ $labels.pod }}" }} has not accepted the latest change.
  description: The files have changed, but the app may still use the old value. The agent tries again; its log says why the target refused.
replicasDisagree:
  alert: FreshmountReplicasDisagree
  expr: |
    count by (namespace, secret, version_stage) (
      count by (namespace, secret, version_stage, version_id) (freshmount_secret_version_info{ {{- $series -}} })
    ) > 1
  summary: The pods have different versions of secret {{ "{{ $labels.secret }}" }}.
  description: There are {{ "{{ $value }}" }} versions. freshmount_secret_version_info shows which pod has which.
configReloadFailed:
  alert: FreshmountConfigReloadFailed
  expr: freshmount_config_reload_success{ {{- $series -}} } == 0
  summary: The agent in {{ "{{ $labels.pod }}" }} refuses its config file and keeps the previous config.
  description: This pod would fail to start again. The agent's log has every problem with line and column.
loopStuck:
  alert: FreshmountLoopStuck
  expr: |
    time() - freshmount_last_pass_timestamp_seconds{ {{- $series -}} }
      > on (namespace, pod) clamp_min({{ $set.loopStuck.periods }} * min by (namespace, pod) (freshmount_secret_period_seconds{ {{- $series -}} }), {{ $set.loopStuck.seconds }})
      unless on (namespace, pod) time() - freshmount_hub_last_answer_timestamp_seconds{ {{- $series -}} } < 300
  summary: The agent in {{ "{{ $labels.pod }}" }} answers, but has stopped working.
  description: Its last pass ended {{ "{{ $value | humanizeDuration }}" }} ago. Its liveness probe fails, so kubelet should have restarted it.
hubAway:
  alert: FreshmountHubAway
  expr: freshmount_hub_connected{ {{- $series -}} } == 0
  summary: The hub does not answer the agent in {{ "{{ $labels.pod }}" }}, which polls AWS by itself.
  description: Files stay fresh, within poll.period. AWS is asked as often as without a hub, and costs as much.
absent:
  alert: FreshmountAbsent
  expr: |
    up{ {{- $series -}} } == 0
      or absent(freshmount_build_info{ {{- $series -}} })
  summary: No metrics come from the agent{{ "{{ with $labels.pod }} in {{ . }}{{ end }}" }}.
  description: Either it does not run, or Prometheus cannot reach it. The files stay as they are, but may not be fresh.
{{- end }}

{{- define "freshmount.dashboard" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if and $it.enabled $it.values.dashboard.enabled -}}
{{- include "freshmount.monitored" (dict "it" $it "name" "dashboard") -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $it.fullname }}-dashboard
  labels:
    {{- merge dict $it.values.dashboard.labels $it.labels | toYaml | nindent 4 }}
data:
  {{ $it.fullname }}.json: |
    {{- include "freshmount.dashboard.content" $it | fromYaml | toPrettyJson | nindent 4 }}
{{- end -}}
{{- end }}

{{- define "freshmount.dashboard.content" -}}
{{- $series := `namespace="$namespace",pod=~"$pod"` -}}
uid: {{ printf "%s/%s" .namespace .fullname | sha256sum | trunc 32 }}
title: Freshmount / {{ .fullname }}
tags: [freshmount]
schemaVersion: 39
refresh: 30s
time: {from: now-6h, to: now}
templating:
  list:
    - {name: datasource, type: datasource, query: prometheus}
    - {name: namespace, type: constant, query: {{ .namespace | quote }}, hide: 2}
    - name: pod
      type: query
      datasource: {type: prometheus, uid: $datasource}
      query: label_values(freshmount_build_info{namespace="$namespace"}, pod)
      refresh: 2
      includeAll: true
      multi: true
      current: {text: All, value: $__all}
panels:
{{- $panels := list
  (list "stat" "none" "Secrets that are not up to date"
    (printf "count(freshmount_secret_up_to_date{%s} == 0) or vector(0)" $series) "")
  (list "stat" "none" "Targets with a pending notification"
    (printf "sum(freshmount_notification_pending{%s}) or vector(0)" $series) "")
  (list "stat" "none" "Agents that refuse their config"
    (printf "count(freshmount_config_reload_success{%s} == 0) or vector(0)" $series) "")
  (list "stat" "currencyUSD" "Calls to AWS, a month at this pace"
    (printf "sum(rate(freshmount_source_requests_total{%s,source=\"secretsmanager\"}[$__rate_interval])) * 730 * 3600 * 0.05 / 10000" $series) "")
  (list "timeseries" "s" "From a new version to its files, median and 95th percentile"
    (printf "histogram_quantile(0.5, sum by (le) (increase(freshmount_rotation_to_file_seconds_bucket{%s}[$__range])))" $series) "p50"
    (printf "histogram_quantile(0.95, sum by (le) (increase(freshmount_rotation_to_file_seconds_bucket{%s}[$__range])))" $series) "p95")
  (list "timeseries" "s" "Freshness: time since AWS confirmed each secret, oldest pod"
    (printf "time() - min by (secret) (freshmount_secret_last_success_timestamp_seconds{%s})" $series) "{{secret}}")
  (list "timeseries" "none" "Pods by version"
    (printf "count by (secret, version_id) (freshmount_secret_version_info{%s})" $series) "{{secret}} {{version_id}}")
  (list "timeseries" "none" "Notifications"
    (printf "sum by (target, result) (increase(freshmount_notifications_total{%s}[$__rate_interval]))" $series) "{{target}}: {{result}}")
  (list "timeseries" "reqps" "Calls to AWS by their code"
    (printf "sum by (operation, code) (rate(freshmount_source_requests_total{%s}[$__rate_interval]))" $series) "{{operation}} {{code}}")
  (list "timeseries" "none" "Errors by reason"
    (printf "sum by (secret, reason) (increase(freshmount_secret_errors_total{%s}[$__rate_interval])) > 0" $series) "{{secret}}: {{reason}}")
-}}
{{- range $i, $panel := $panels }}
{{- $small := lt $i 4 }}
  - id: {{ add1 $i }}
    type: {{ index $panel 0 }}
    title: {{ index $panel 2 | quote }}
    datasource: {type: prometheus, uid: $datasource}
    fieldConfig: {defaults: {unit: {{ index $panel 1 }}, min: 0}, overrides: []}
    {{- if $small }}
    gridPos: {x: {{ mul 6 $i }}, "y": 0, w: 6, h: 4}
    {{- else }}
    {{- $j := sub $i 4 }}
    gridPos: {x: {{ mul 12 (mod $j 2) }}, "y": {{ add 4 (mul 8 (div $j 2)) }}, w: 12, h: 8}
    {{- end }}
    targets:
      {{- range $k, $_ := until (div (sub (len $panel) 3) 2 | int) }}
      - refId: {{ list "A" "B" | join "" | substr $k (add1 $k | int) }}
        datasource: {type: prometheus, uid: $datasource}
        expr: {{ index $panel (add 3 (mul 2 $k)) | quote }}
        legendFormat: {{ index $panel (add 4 (mul 2 $k)) | quote }}
      {{- end }}
{{- end }}
{{- end }}
