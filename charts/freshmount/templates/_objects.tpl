{{/* All objects that are turned on, apart from the workload, for one file of the user's chart. */}}
{{- define "freshmount.objects" -}}
{{- $documents := list -}}
{{- range $name := list "configMap" "networkPolicy" "podMonitor" "service" "serviceMonitor" "prometheusRule" "dashboard" -}}
{{- with include (printf "freshmount.%s" $name) $ -}}
{{- $documents = append $documents . -}}
{{- end -}}
{{- end -}}
{{- join "\n---\n" $documents -}}
{{- end }}

{{- define "freshmount.metadata" -}}
name: {{ .fullname }}
labels:
  {{- toYaml .labels | nindent 2 }}
{{- end }}

{{- define "freshmount.configMap" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if $it.agent -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "freshmount.metadata" $it | nindent 2 }}
data:
  config.yaml: |
    {{- toYaml $it.config | nindent 4 }}
{{- end -}}
{{- end }}

{{/* The traffic that the agent needs: to DNS, AWS's endpoints, the hub in any namespace, and Pod Identity's agent on the node, and from a scraper. */}}
{{- define "freshmount.networkPolicy" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if and $it.enabled $it.values.networkPolicy.enabled -}}
{{- $policy := $it.values.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "freshmount.metadata" $it | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- toYaml $it.selectorLabels | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- if $it.runs }}
    - ports: [{protocol: TCP, port: {{ $it.port }}}]
      {{- with $policy.metricsFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- with $policy.ingress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  egress:
    - ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
    {{- /* OpenShift's DNS pods listen on 5353, and a policy applies to the port behind the Service. */}}
    {{- if $it.openshift }}
    - ports: [{protocol: UDP, port: 5353}, {protocol: TCP, port: 5353}]
    {{- end }}
    - ports: [{{ range $i, $port := $it.awsPorts }}{{ if $i }}, {{ end }}{protocol: TCP, port: {{ $port }}}{{ end }}]
      {{- with $policy.awsTo }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- if and $it.hubPort $it.runs }}
    - ports: [{protocol: TCP, port: {{ $it.hubPort }}}]
      to:
        - namespaceSelector: {}
    {{- end }}
    {{- if eq $it.values.aws.identity "podIdentity" }}
    - ports: [{protocol: TCP, port: 80}]
      to:
        - ipBlock: {cidr: 169.254.170.23/32}
        - ipBlock: {cidr: "fd00:ec2::23/128"}
    {{- end }}
    {{- with $policy.egress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
{{- end }}
