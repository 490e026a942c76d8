{{- define "controller.series" -}}
{{- .Values.alerts.selector | default (printf "job=%q" (printf "%s/%s" .Release.Namespace (include "controller.name" .))) -}}
{{- end }}

{{- /*
The alerts by their name in values, and whether their part is on. Each reports one thing. Only the pod with the Lease has series
of ExternalSecrets; for a moment another may still have its own, so the best of them counts.
*/ -}}
{{- define "controller.alerts" -}}
{{- $series := include "controller.series" . -}}
{{- $agents := .Values.alerts.agents | default "" -}}
{{- $set := .Values.alerts.rules -}}
{{- $ready := printf "max by (namespace, name) (freshmount_controller_external_secret_ready{%s}) == 0" $series -}}
externalSecretNotReady:
  applies: {{ .Values.externalSecrets.enabled }}
  alert: FreshmountExternalSecretNotReady
  expr: {{ $ready }}
  summary: ExternalSecret {{ "{{ $labels.namespace }}/{{ $labels.name }}" }} is not ready.
  description: Its Secret stays as it is, but may not be current. The condition Ready of the ExternalSecret has the reason.
externalSecretStale:
  applies: {{ .Values.externalSecrets.enabled }}
  alert: FreshmountExternalSecretStale
  expr: |
    time() - max by (namespace, name) (freshmount_controller_external_secret_last_success_timestamp_seconds{ {{- $series -}} })
      > {{ ($set.externalSecretStale | default dict).seconds | default 0 | int64 }}
      and ({{ $ready }})
  summary: The Secret of ExternalSecret {{ "{{ $labels.namespace }}/{{ $labels.name }}" }} is not known to be current.
  description: AWS last confirmed it {{ "{{ $value | humanizeDuration }}" }} ago. A rotation since then may have made it invalid.
noLeader:
  applies: {{ .Values.externalSecrets.enabled }}
  alert: FreshmountControllerNoLeader
  expr: sum(freshmount_controller_leader{ {{- $series -}} }) != 1
  summary: "{{ "{{ $value }}" }} pods of the controller keep ExternalSecrets; it must be one."
  description: Without one, no Secret is refreshed. Secrets stay as they are.
hubDown:
  applies: {{ .Values.hub.enabled }}
  alert: FreshmountHubDown
  expr: max(freshmount_hub_connected{ {{- $agents -}} }) == 0
  summary: No agent gets answers from the hub.
  description: Every agent polls AWS by itself, so rotations are still noticed, within a period, at the price of a cluster without a hub.
hubAgentsFallBack:
  applies: {{ .Values.hub.enabled }}
  alert: FreshmountHubAgentsFallBack
  expr: |
    1 - avg(freshmount_hub_connected{ {{- $agents -}} }) > {{ ($set.hubAgentsFallBack | default dict).share | default 0 }}
      and max(freshmount_hub_connected{ {{- $agents -}} }) == 1
  summary: "{{ "{{ $value | humanizePercentage }}" }} of the agents get no answers from the hub."
  description: These agents poll AWS by themselves. Others are answered, so look at what differs, such as their NetworkPolicy or token.
eventsAway:
  applies: {{ and .Values.hub.enabled (not (empty .Values.hub.eventsQueue)) }}
  alert: FreshmountEventsAway
  expr: min(freshmount_controller_events_connected{ {{- $series -}} }) == 0
  summary: The hub cannot ask its queue of events.
  description: The hub polls meanwhile, so rotations are still noticed, but later. The controller's log has AWS's reason.
pushFailing:
  applies: {{ .Values.push.enabled }}
  alert: FreshmountPushFailing
  expr: sum by (operation) (increase(freshmount_controller_push_requests_total{ {{- $series -}} ,result="failed"}[{{ ($set.pushFailing | default dict).window }}])) > 0
  summary: Pushed Secrets are refused, because AWS does not take them.
  description: Nothing of them reached etcd. The error that kubectl or Helm shows has AWS's reason, and so has the controller's log.
pushCertificateExpiring:
  applies: {{ .Values.push.enabled }}
  alert: FreshmountPushCertificateExpiring
  expr: min(freshmount_controller_push_certificate_expiry_timestamp_seconds{ {{- $series -}} }) - time() < {{ ($set.pushCertificateExpiring | default dict).seconds | default 0 | int64 }}
  summary: The certificate of the webhook ends in {{ "{{ $value | humanizeDuration }}" }}.
  description: It should have been renewed long before. After its end no labelled Secret can be created or changed.
controllerAbsent:
  applies: true
  alert: FreshmountControllerAbsent
  expr: |
    up{ {{- $series -}} } == 0
      or absent(up{ {{- $series -}} })
  summary: No metrics come from the controller{{ "{{ with $labels.pod }} in {{ . }}{{ end }}" }}.
  description: Either it does not run, or Prometheus cannot reach it. Secrets and files stay as they are, but may not be fresh.
{{- end }}

{{- define "controller.dashboard" -}}
{{- $all := include "controller.series" . -}}
uid: {{ printf "%s/%s" .Release.Namespace (include "controller.name" .) | sha256sum | trunc 32 }}
title: Freshmount / controller
tags: [freshmount]
schemaVersion: 39
refresh: 30s
time: {from: now-6h, to: now}
templating:
  list:
    - {name: datasource, type: datasource, query: prometheus}
panels:
{{- $panels := list -}}
{{- if .Values.externalSecrets.enabled -}}
{{- $panels = concat $panels (list
  (list "stat" "none" "ExternalSecrets that are not ready"
    (printf "count(max by (namespace, name) (freshmount_controller_external_secret_ready{%s}) == 0) or vector(0)" $all) "")
  (list "stat" "none" "ExternalSecrets"
    (printf "count(max by (namespace, name) (freshmount_controller_external_secret_ready{%s})) or vector(0)" $all) "")
  (list "timeseries" "s" "Freshness: time since AWS confirmed each Secret, the ten oldest"
    (printf "topk(10, time() - max by (namespace, name) (freshmount_controller_external_secret_last_success_timestamp_seconds{%s}))" $all) "{{namespace}}/{{name}}")
  (list "timeseries" "none" "ExternalSecrets: errors by reason"
    (printf "sum by (reason) (increase(freshmount_controller_external_secret_errors_total{%s}[$__rate_interval])) > 0" $all) "{{reason}}")) -}}
{{- end -}}
{{- if .Values.hub.enabled -}}
{{- $panels = concat $panels (list
  (list "stat" "none" "Agents that wait at the hub"
    (printf "sum(freshmount_controller_hub_agents{%s}) or vector(0)" $all) "")
  (list "stat" "percentunit" "Agents without answers from the hub"
    (printf "1 - avg(freshmount_hub_connected{%s}) or vector(0)" (.Values.alerts.agents | default "")) "")
  (list "timeseries" "none" "Versions that the hub looks at, and moves"
    (printf "sum(freshmount_controller_hub_versions{%s})" $all) "versions"
    (printf "sum(increase(freshmount_controller_hub_moves_total{%s}[$__rate_interval]))" $all) "moves")
  (list "timeseries" "s" "From the hub's look to an agent's answer, median and 99th percentile"
    (printf "histogram_quantile(0.5, sum by (le) (increase(freshmount_controller_hub_move_to_answer_seconds_bucket{%s}[$__range])))" $all) "p50"
    (printf "histogram_quantile(0.99, sum by (le) (increase(freshmount_controller_hub_move_to_answer_seconds_bucket{%s}[$__range])))" $all) "p99")) -}}
{{- if .Values.hub.eventsQueue -}}
{{- $panels = append $panels
  (list "timeseries" "none" "Events"
    (printf "sum by (kind, result) (increase(freshmount_controller_events_total{%s}[$__rate_interval]))" $all) "{{kind}}: {{result}}") -}}
{{- end -}}
{{- end -}}
{{- if .Values.push.enabled -}}
{{- $panels = concat $panels (list
  (list "stat" "s" "The webhook's certificate ends in"
    (printf "min(freshmount_controller_push_certificate_expiry_timestamp_seconds{%s}) - time()" $all) "")
  (list "timeseries" "none" "Pushed Secrets"
    (printf "sum by (operation, result) (increase(freshmount_controller_push_requests_total{%s}[$__rate_interval]))" $all) "{{operation}}: {{result}}")) -}}
{{- end -}}
{{- $small := list -}}
{{- $large := list -}}
{{- range $panels -}}
{{- if eq (first .) "stat" -}}{{- $small = append $small . -}}{{- else -}}{{- $large = append $large . -}}{{- end -}}
{{- end -}}
{{- $top := mul 4 (div (add (len $small) 3) 4) }}
{{- range $i, $panel := concat $small $large }}
  - id: {{ add1 $i }}
    type: {{ index $panel 0 }}
    title: {{ index $panel 2 | quote }}
    datasource: {type: prometheus, uid: $datasource}
    fieldConfig: {defaults: {unit: {{ index $panel 1 }}, min: 0}, overrides: []}
    {{- if lt $i (len $small) }}
    gridPos: {x: {{ mul 6 (mod $i 4) }}, "y": {{ mul 4 (div $i 4) }}, w: 6, h: 4}
    {{- else }}
    {{- $j := sub $i (len $small) }}
    gridPos: {x: {{ mul 12 (mod $j 2) }}, "y": {{ add $top (mul 8 (div $j 2)) }}, w: 12, h: 8}
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
