{{/* All objects but the Service have this name; another release in the same namespace is refused by Helm. */}}
{{- define "controller.name" -}}
freshmount-controller
{{- end }}

{{/* The Service's name, in the URL that agents are given. */}}
{{- define "controller.service" -}}
freshmount
{{- end }}

{{- define "controller.selectorLabels" -}}
app.kubernetes.io/name: freshmount-controller
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "controller.labels" -}}
{{ include "controller.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "controller.metadata" -}}
name: {{ include "controller.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "controller.labels" . | nindent 2 }}
{{- end }}

{{/* Everything that is wrong with the values, in one error. */}}
{{- define "controller.check" -}}
{{- $wrong := list -}}
{{- if not (or .Values.externalSecrets.enabled .Values.hub.enabled .Values.push.enabled) -}}
{{- $wrong = append $wrong "no part is on: set externalSecrets.enabled, hub.enabled or push.enabled to true" -}}
{{- end -}}
{{- if not .Values.image.repository -}}
{{- $wrong = append $wrong "image.repository is missing: push the image that `make controller-image` builds, and name it" -}}
{{- end -}}
{{- if and .Values.push.namespaces .Values.push.namespaceSelector -}}
{{- $wrong = append $wrong "push.namespaces and push.namespaceSelector are both set: use one of them" -}}
{{- end -}}
{{- range .Values.push.namespaces -}}
{{- if has . (include "controller.neverPushed" $ | fromYamlArray) -}}
{{- $wrong = append $wrong (printf "push.namespaces has %s, whose Secrets are never pushed: remove it" .) -}}
{{- end -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "controller: %s" (join "; " $wrong)) -}}
{{- end -}}
{{- end }}

{{- define "controller.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}
{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "controller.args" -}}
{{- $args := list "controller" -}}
{{- with .Values.externalSecrets -}}
{{- if .enabled -}}
{{- $args = concat $args (list "--external-secrets" (printf "--controller-class=%s" (.controllerClass | default ""))) -}}
{{- range .namespaces -}}{{- $args = append $args (printf "--namespace=%s" .) -}}{{- end -}}
{{- if .auth.jwt -}}{{- $args = append $args "--service-account-tokens" -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.hub -}}
{{- if .enabled -}}
{{- $args = concat $args (list "--hub" (printf "--hub-replicas=%d" (int $.Values.replicas))) -}}
{{- with .eventsQueue -}}{{- $args = append $args (printf "--events-queue=%s" .) -}}{{- end -}}
{{- with .period -}}{{- $args = append $args (printf "--hub-period=%s" .) -}}{{- end -}}
{{- with .floor -}}{{- $args = append $args (printf "--floor=%s" .) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.push -}}
{{- if .enabled -}}
{{- $args = append $args "--push" -}}
{{- with .cluster -}}{{- $args = append $args (printf "--push-cluster=%s" .) -}}{{- end -}}
{{- with .prefix -}}{{- $args = append $args (printf "--push-prefix=%s" .) -}}{{- end -}}
{{- with .deletionWindow -}}{{- $args = append $args (printf "--push-deletion-window=%d" (int .)) -}}{{- end -}}
{{- if .certManager.enabled -}}{{- $args = append $args "--push-cert-dir=/etc/freshmount/push" -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- concat $args (.Values.extraArgs | default list) | toYaml -}}
{{- end }}

{{/* A webhook that fails closed must not stand in the way of what it needs itself, nor of the cluster's own. */}}
{{- define "controller.neverPushed" -}}
[kube-system, kube-public, kube-node-lease, {{ .Release.Namespace }}]
{{- end }}
