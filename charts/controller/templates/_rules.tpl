{{/* A Role and its binding, as two more documents. */}}
{{- define "controller.role" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "controller.labels" .root | nindent 4 }}
rules:
  {{- toYaml .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "controller.labels" .root | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ .name }}}
subjects:
  - {kind: ServiceAccount, name: {{ include "controller.name" .root }}, namespace: {{ .root.Release.Namespace }}}
{{- end }}

{{/* In each namespace that is served. Secrets are watched by metadata, without their values; RBAC has no verb for that. */}}
{{- define "controller.rules.externalSecrets" -}}
- {apiGroups: [external-secrets.io], resources: [externalsecrets, secretstores], verbs: [list, watch]}
- {apiGroups: [external-secrets.io], resources: [externalsecrets/status, secretstores/status], verbs: [patch]}
- {apiGroups: [external-secrets.io], resources: [externalsecrets/finalizers], verbs: [update]}
- {apiGroups: [""], resources: [secrets], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [""], resources: [configmaps], verbs: [get]}
- {apiGroups: [""], resources: [events], verbs: [create]}
{{- if .Values.externalSecrets.auth.jwt }}
- {apiGroups: [""], resources: [serviceaccounts], verbs: [get]}
- {apiGroups: [""], resources: [serviceaccounts/token], verbs: [create]}
{{- end }}
{{- end }}

{{/* Namespaces for a store's conditions, which choose them by label. */}}
{{- define "controller.rules.clusterStores" -}}
- {apiGroups: [external-secrets.io], resources: [clustersecretstores], verbs: [list, watch]}
- {apiGroups: [external-secrets.io], resources: [clustersecretstores/status], verbs: [patch]}
- {apiGroups: [""], resources: [namespaces], verbs: [list, watch]}
{{- end }}

{{/* What is created cannot be named beforehand. */}}
{{- define "controller.rules.lease" -}}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [freshmount-external-secrets], verbs: [get, update]}
{{- end }}

{{- define "controller.rules.hub" -}}
- {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
{{- end }}

{{/* Whether the Secret of a review exists: a forged review must not move anything in AWS. */}}
{{- define "controller.rules.push" -}}
- {apiGroups: [""], resources: [secrets], verbs: [get]}
{{- end }}

{{/* Its CA in its own configuration. */}}
{{- define "controller.rules.webhook" -}}
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations]
  resourceNames: [freshmount-push]
  verbs: [get, patch]
{{- end }}

{{- define "controller.rules.certificate" -}}
- {apiGroups: [""], resources: [secrets], verbs: [create]}
- {apiGroups: [""], resources: [secrets], resourceNames: [freshmount-push-tls], verbs: [get, update]}
{{- end }}
