{{/*
What the library renders for a pod whose config is not known yet: the container, its volumes and the app's mount, as JSON.
Whatever the library adds to one of them is injected, too.
*/}}
{{- define "injector.agent" -}}
{{- $library := .Values.freshmount -}}
{{- if or (kindIs "bool" $library.enabled) $library.image.repository $library.config.secrets -}}
  {{- fail "injector: the values under freshmount are the library's and have no effect here: set image, resources and what else the README lists without that prefix" -}}
{{- end -}}
{{- if not .Values.image.repository -}}
  {{- fail "injector: image.repository is missing: there is no published image yet, so build one (make image), push it to your registry and set its name here" -}}
{{- end -}}
{{- $values := pick .Values "image" "holdBack" "sizeLimit" "runAsUser" "runAsGroup" "resources" "extraEnv" "extraArgs" "hub" | deepCopy -}}
{{- /* In the library the config has the hub; here the config is the pod's own. The token comes from the library. */ -}}
{{- with (.Values.hub | default dict).url -}}
  {{- $_ := set $values "extraEnv" (append ($values.extraEnv | default list) (dict "name" "FRESHMOUNT_HUB_URL" "value" .)) -}}
  {{- if eq ($.Values.hub.ownLooks | default "describe") "list" -}}
    {{- $_ := set $values "extraEnv" (append $values.extraEnv (dict "name" "FRESHMOUNT_HUB_OWN_LOOKS" "value" "list")) -}}
  {{- end -}}
{{- end -}}
{{- /* The hook outlasts the agent's own `startup.timeout`, which is 2 minutes unless the pod's config says less. */ -}}
{{- $config := dict "startup" (dict "timeout" "2m") "secrets" (list (dict "name" "any" "secretId" "any")) -}}
{{- $values = merge (dict "enabled" true "mode" "native" "config" $config) $values -}}
{{- $root := dict "Values" (dict "freshmount" $values) "Subcharts" .Subcharts "Chart" .Chart "Release" .Release "Capabilities" .Capabilities -}}
{{- dict
    "container" (include "freshmount.initContainers" $root | fromYamlArray | first)
    "volumes" (include "freshmount.volumes" $root | fromYamlArray)
    "mount" (include "freshmount.volumeMounts" $root | fromYamlArray | first)
  | toJson -}}
{{- end }}

{{/*
A value as a CEL expression. All of a map or list is dyn, because CEL takes no literal of mixed types. A map with the one key
`cel` is the expression that it holds; a key that begins with `?` has an optional value.
*/}}
{{- define "injector.cel" -}}
{{- if kindIs "map" . -}}
  {{- if hasKey . "cel" -}}
    {{- .cel -}}
  {{- else -}}
    {{- $entries := list -}}
    {{- range $key, $value := . -}}
      {{- if hasPrefix "?" $key -}}
        {{- $entries = append $entries (printf "?%s: %s" (trimPrefix "?" $key | toJson) (include "injector.cel" $value)) -}}
      {{- else -}}
        {{- $entries = append $entries (printf "%s: dyn(%s)" ($key | toJson) (include "injector.cel" $value)) -}}
      {{- end -}}
    {{- end -}}
    {{- printf "{%s}" (join ", " $entries) -}}
  {{- end -}}
{{- else if kindIs "slice" . -}}
  {{- $items := list -}}
  {{- range . -}}{{- $items = append $items (printf "dyn(%s)" (include "injector.cel" .)) -}}{{- end -}}
  {{- printf "[%s]" (join ", " $items) -}}
{{- else -}}
  {{- toJson . -}}
{{- end -}}
{{- end }}

{{- define "injector.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "injector.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* No pod of these is touched or refused, whatever it says. */}}
{{- define "injector.notSystem" -}}
matchExpressions:
  - {key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system, kube-public, kube-node-lease]}
{{- end }}
