{{/*
What goes into a pod. Each template renders list items or map entries without indentation, or nothing at all. So if a user
wraps it in `with` and turns Freshmount off, the manifest is byte for byte what it was.
*/}}

{{/* The first of the pod's initContainers, so that those after it find the secrets. */}}
{{- define "freshmount.initContainers" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if $it.enabled -}}
{{- if eq $it.mode "native" -}}
{{- include "freshmount.container" (dict "it" $it "name" $it.name "command" "run" "root" (ternary . .root (hasKey . "Values"))) -}}
{{- else if has $it.mode (list "init" "both") -}}
{{- include "freshmount.container" (dict "it" $it "name" (printf "%s-init" $it.name) "command" "init") -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A plain sidecar among the pod's containers. */}}
{{- define "freshmount.containers" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if and $it.enabled (has $it.mode (list "sidecar" "both")) -}}
{{- include "freshmount.container" (dict "it" $it "name" $it.name "command" "run" "root" (ternary . .root (hasKey . "Values"))) -}}
{{- end -}}
{{- end }}

{{/*
Containers of a pod share its ports. No value says which agents share a pod, so this assumes it of those in one file of the
user's chart: each call leaves its port in the root context for later calls.
*/}}
{{- define "freshmount.claim" -}}
{{- if hasKey .root "Template" -}}
{{- $claim := printf "%s:%v" .root.Template.Name .it.port -}}
{{- $claims := .root.freshmountClaims | default dict -}}
{{- $other := index $claims $claim | default .it.key -}}
{{- if ne $other .it.key -}}
{{- fail (printf "freshmount: %s.config.listen and %s.config.listen have the same port, %v, and %s puts both agents in one pod: give one of them another port (or put separate pods in separate files)" $other .it.key .it.port .root.Template.Name) -}}
{{- end -}}
{{- $_ := set .root "freshmountClaims" (merge (dict $claim .it.key) $claims) -}}
{{- end -}}
{{- end }}

{{- define "freshmount.container" -}}
{{- $it := .it -}}
{{- $values := $it.values -}}
{{- if eq .command "run" -}}{{- include "freshmount.claim" . -}}{{- end -}}
- name: {{ .name }}
  image: {{ $it.image | quote }}
  {{- with $values.image.pullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  args:
    {{- concat (list .command) $values.extraArgs | toYaml | nindent 4 }}
  {{- with $values.extraEnv }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq .command "run" }}
  {{- if eq $it.mode "native" }}
  restartPolicy: Always
  {{- end }}
  {{- if eq $it.holdBack "hook" }}
  lifecycle:
    postStart:
      exec:
        command: [freshmount, wait, --port={{ $it.port }}, --timeout={{ $it.patience }}s]
  {{- else if eq $it.holdBack "probe" }}
  startupProbe:
    httpGet: {path: /startupz, port: {{ $it.portName }}}
    periodSeconds: 1
    failureThreshold: {{ $it.patience }}
  {{- end }}
  livenessProbe:
    httpGet: {path: /livez, port: {{ $it.portName }}}
  {{- if $it.readiness }}
  readinessProbe:
    httpGet: {path: /readyz, port: {{ $it.portName }}}
  {{- end }}
  ports:
    - {name: {{ $it.portName }}, containerPort: {{ $it.port }}}
  {{- end }}
  {{- with $values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    {{- range $name, $id := $it.user }}
    {{- if not (kindIs "invalid" $id) }}
    {{ $name }}: {{ int64 $id }}
    {{- end }}
    {{- end }}
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
  volumeMounts:
    - {name: {{ $it.name }}, mountPath: {{ $values.mountPath }}}
    - {name: {{ $it.name }}-config, mountPath: /etc/freshmount, readOnly: true}
    {{- if and $it.token (eq .command "run") }}
    - {name: {{ $it.name }}-hub, mountPath: /var/run/secrets/freshmount/hub, readOnly: true}
    {{- end }}
    {{- with $values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* The pod's volumes: the secrets in memory, the config, and the token that the hub is shown; or the Secret in their place. */}}
{{- define "freshmount.volumes" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if $it.agent -}}
- name: {{ $it.name }}
  emptyDir: {medium: Memory{{ with $it.values.sizeLimit }}, sizeLimit: {{ . }}{{ end }}}
- name: {{ $it.name }}-config
  configMap: {name: {{ $it.fullname }}}
{{- if $it.token }}
- name: {{ $it.name }}-hub
  projected:
    sources:
      - serviceAccountToken: {audience: {{ $it.values.hub.audience }}, path: token, expirationSeconds: 3600}
{{- end }}
{{- else if $it.enabled -}}
- name: {{ $it.name }}
  secret: {secretName: {{ $it.values.secretName | quote }}}
{{- end -}}
{{- end }}

{{/*
The app's mount. It is the whole volume, because a subPath never shows an update, and read-only. A Secret is mounted where the
agent would write, so that the app finds its files at the same paths.
*/}}
{{- define "freshmount.volumeMounts" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if $it.enabled -}}
- {name: {{ $it.name }}, mountPath: {{ ternary $it.values.mountPath $it.config.volume.path $it.agent }}, readOnly: true}
{{- end -}}
{{- end }}

{{- define "freshmount.podAnnotations" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if $it.agent -}}
{{- $annotations := dict -}}
{{- with $it.values.aws.skipContainers -}}
{{- $_ := set $annotations "eks.amazonaws.com/skip-containers" (join "," .) -}}
{{- end -}}
{{- if $it.values.restartOnConfigChange -}}
{{- $_ := set $annotations (printf "checksum/%s" $it.name) ($it.config | toYaml | sha256sum) -}}
{{- end -}}
{{- with $annotations -}}{{- toYaml . -}}{{- end -}}
{{- end -}}
{{- end }}

{{/* For the pod's spec, if a signal must reach the app. */}}
{{- define "freshmount.shareProcessNamespace" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if and $it.enabled $it.signal -}}
shareProcessNamespace: true
{{- end -}}
{{- end }}

{{/* For the pod's ServiceAccount. Pod Identity needs no annotation: its association is stored in AWS. */}}
{{- define "freshmount.serviceAccountAnnotations" -}}
{{- $it := include "freshmount.resolve" . | fromJson -}}
{{- if and $it.agent (eq $it.values.aws.identity "irsa") -}}
eks.amazonaws.com/role-arn: {{ $it.values.aws.roleArn }}
{{- end -}}
{{- end }}
