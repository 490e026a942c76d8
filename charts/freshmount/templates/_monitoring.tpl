{{- define "freshmount.podMonitor" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if and $it.enabled $it.runs $it.values.podMonitor.enabled -}}
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
      interval: {{ $it.values.podMonitor.interval }}
{{- end -}}
{{- end }}

{{- define "freshmount.prometheusRule" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if and $it.enabled $it.runs $it.values.prometheusRule.enabled -}}
{{- $series := $it.values.prometheusRule.selector | default (printf "job=%q" (printf "%s/%s" $it.namespace $it.fullname)) -}}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {{ $it.fullname }}
  labels:
    {{- merge dict $it.values.prometheusRule.labels $it.labels | toYaml | nindent 4 }}
spec:
  groups:
    - name: {{ $it.fullname }}
      rules:
        - alert: FreshmountSecretStale
          expr: |
            time() - freshmount_secret_last_success_timestamp_seconds{ {{- $series -}} }
              > clamp_min(5 * freshmount_secret_period_seconds{ {{- $series -}} }, 300)
          for: 5m
          labels: {severity: warning}
          annotations:
            summary: Nobody knows whether secret {{ "{{ $labels.secret }}" }} in {{ "{{ $labels.pod }}" }} is still current.
            description: AWS has not confirmed it for {{ "{{ $value | humanizeDuration }}" }}. The app keeps the last good value. freshmount_secret_errors_total and the agent's log have the reason.
        - alert: FreshmountSecretNotPublished
          expr: freshmount_secret_up_to_date{ {{- $series -}} } == 0
          for: 15m
          labels: {severity: warning}
          annotations:
            summary: Secret {{ "{{ $labels.secret }}" }} in {{ "{{ $labels.pod }}" }} is not the version that AWS says is current.
            description: The app keeps the last good value. freshmount_secret_errors_total and the agent's log have the reason.
        - alert: FreshmountNotificationPending
          expr: freshmount_notification_pending{ {{- $series -}} } == 1
          for: 10m
          labels: {severity: warning}
          annotations:
            summary: Target {{ "{{ $labels.target }}" }} in {{ "{{ $labels.pod }}" }} has not accepted the latest change.
            description: The files are new, but the app may still use what it read before. The agent tries again; its log says why the target refused.
        - alert: FreshmountConfigReloadFailed
          expr: freshmount_config_reload_success{ {{- $series -}} } == 0
          for: 5m
          labels: {severity: warning}
          annotations:
            summary: The agent in {{ "{{ $labels.pod }}" }} refuses its config file and keeps the config before it.
            description: The agent's log has every problem with line and column.
{{- end -}}
{{- end }}

{{- define "freshmount.dashboard" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if and $it.enabled $it.runs $it.values.dashboard.enabled -}}
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
  (list "timeseries" "s" "Time since AWS confirmed each secret"
    (printf "time() - min by (secret) (freshmount_secret_last_success_timestamp_seconds{%s})" $series) "{{secret}}")
  (list "timeseries" "none" "New versions published"
    (printf "sum by (secret) (changes(freshmount_secret_published_timestamp_seconds{%s}[$__rate_interval]))" $series) "{{secret}}")
  (list "timeseries" "none" "Errors by reason"
    (printf "sum by (secret, reason) (increase(freshmount_secret_errors_total{%s}[$__rate_interval])) > 0" $series) "{{secret}}: {{reason}}")
  (list "timeseries" "reqps" "Calls to AWS by their code"
    (printf "sum by (operation, code) (rate(freshmount_aws_requests_total{%s}[$__rate_interval]))" $series) "{{operation}} {{code}}")
  (list "timeseries" "s" "From publish to accepted notification, 95th percentile"
    (printf "histogram_quantile(0.95, sum by (le) (rate(freshmount_publish_to_notify_seconds_bucket{%s}[$__rate_interval])))" $series) "p95")
-}}
{{- range $i, $panel := $panels }}
{{- $small := lt $i 3 }}
  - id: {{ add1 $i }}
    type: {{ index $panel 0 }}
    title: {{ index $panel 2 | quote }}
    datasource: {type: prometheus, uid: $datasource}
    fieldConfig: {defaults: {unit: {{ index $panel 1 }}, min: 0}, overrides: []}
    {{- if $small }}
    gridPos: {x: {{ mul 8 $i }}, "y": 0, w: 8, h: 4}
    {{- else }}
    {{- $j := sub $i 3 }}
    gridPos: {x: {{ mul 12 (mod $j 2) }}, "y": {{ add 4 (mul 8 (div $j 2)) }}, w: 12, h: 8}
    {{- end }}
    targets:
      - refId: A
        datasource: {type: prometheus, uid: $datasource}
        expr: {{ index $panel 3 | quote }}
        legendFormat: {{ index $panel 4 | quote }}
{{- end }}
{{- end }}
