{{/*
From a call and its values to one checked description. Every other template is a view of it. One run reports all problems. A
call is the chart's root context, or a dict with `root` and, for a second agent, `key`: the alias of the dependency with its
values. With `job`, a plain sidecar becomes an init container, because it would keep the Job from completing, unless `exitWith`
ends it.

The description is JSON, because an include returns text.
*/}}
{{- define "freshmount.resolve" -}}
{{- $call := . -}}
{{- if not (kindIs "map" .) -}}
  {{- fail "freshmount: pass the chart's root context, as in include \"freshmount.volumes\" $ (inside range and with, the dot is something else)" -}}
{{- end -}}
{{- if hasKey . "Values" -}}
  {{- $call = dict "root" . -}}
{{- else if not (hasKey . "root") -}}
  {{- fail "freshmount: pass the chart's root context, as in include \"freshmount.volumes\" $, or (dict \"root\" $ \"key\" \"…\")" -}}
{{- end -}}
{{- range $name, $_ := $call -}}
  {{- if not (has $name (list "root" "key" "job")) -}}
    {{- fail (printf "freshmount: a call takes root, key and job, not %q" $name) -}}
  {{- end -}}
{{- end -}}
{{- $root := $call.root -}}
{{- $key := $call.key | default "freshmount" -}}
{{- $values := index $root.Values $key -}}
{{- if not (kindIs "map" $values) -}}
  {{- fail (printf "freshmount: there are no values under %q: add the library to the dependencies of your Chart.yaml under that name or alias, and a block %s: with enabled: true to your values.yaml" $key $key) -}}
{{- end -}}
{{- if not (kindIs "bool" $values.enabled) -}}
  {{- fail (printf "freshmount: %s.enabled is missing: add a block %s: to your values.yaml, with enabled: true and what the README lists, or enabled: false" $key $key) -}}
{{- else if not $values.enabled -}}
  {{- dict "enabled" false "key" $key | toJson -}}
{{- else -}}
  {{- include "freshmount.resolve.enabled" (dict "root" $root "key" $key "values" $values "job" $call.job) -}}
{{- end -}}
{{- end }}

{{/*
What the other templates rely on where a value is missing, null or empty: the default if nothing works without one, or else
nothing. No boolean here may be true, because `merge` treats false as empty.
*/}}
{{- define "freshmount.fallback" -}}
mode: ""
holdBack: ""
secretName: ""
image: {repository: "", tag: "", digest: "", pullPolicy: ""}
config: {apiVersion: freshmount.dev/v1, kind: Config}
mountPath: /freshmount
sizeLimit: ""
resources: {}
extraEnv: []
extraArgs: []
extraVolumeMounts: []
aws: {identity: "", roleArn: "", skipContainers: [], kmsKeyArns: []}
selectorLabels: {}
podMonitor: {enabled: false, interval: "", labels: {}}
serviceMonitor: {enabled: false, interval: "", labels: {}}
prometheusRule:
  enabled: false
  labels: {}
  selector: ""
  runbookUrl: ""
  alerts:
    {{- range $name, $_ := include "freshmount.alerts.needs" . | fromYaml }}
    {{ $name }}: {enabled: false}
    {{- end }}
dashboard: {enabled: false, labels: {}}
networkPolicy: {enabled: false, metricsFrom: [], awsTo: [], ingress: [], egress: []}
hub: {url: "", audience: freshmount, ownLooks: describe}
{{- end }}

{{/* A mapping without its nulls, at any depth: in values, null removes a default. Lists stay as they are. */}}
{{- define "freshmount.present" -}}
{{- $present := dict -}}
{{- range $name, $value := . -}}
  {{- if kindIs "map" $value -}}
    {{- $_ := set $present $name (include "freshmount.present" $value | fromJson) -}}
  {{- else if not (kindIs "invalid" $value) -}}
    {{- $_ := set $present $name $value -}}
  {{- end -}}
{{- end -}}
{{- $present | toJson -}}
{{- end }}

{{/* The port of an address, as text: what follows the colon, never digits of a host, a path or an IPv6 address; or else the
port of its scheme. */}}
{{- define "freshmount.port" -}}
{{- $authority := regexReplaceAll "[/?#].*$" (regexReplaceAll "^[A-Za-z][A-Za-z0-9+.-]*://" . "") "" -}}
{{- $host := regexReplaceAll "^.*[]@]" $authority "" -}}
{{- regexFind ":[0-9]+$" $host | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https:" .)) -}}
{{- end }}

{{- define "freshmount.resolve.enabled" -}}
{{- $root := .root -}}
{{- $key := .key -}}
{{- $values := merge (include "freshmount.present" .values | fromJson) (include "freshmount.fallback" . | fromYaml) -}}
{{- range $quantities := $values.resources -}}
  {{- range $name, $quantity := $quantities -}}
    {{- if eq (toString $quantity) "" -}}{{- $_ := unset $quantities $name -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- $mode := $values.mode -}}
{{- $problems := list -}}
{{- $modes := list "native" "init" "sidecar" "both" "secret" -}}
{{- $kube := $root.Capabilities.KubeVersion.Version -}}
{{- $native := semverCompare ">=1.29-0" $kube -}}
{{- if not $mode -}}
  {{- $mode = ternary "native" "both" $native -}}
{{- else if not (has $mode $modes) -}}
  {{- $problems = append $problems (printf "%s.mode is %q: set it to native, init, sidecar, both or secret, or leave it out (native from Kubernetes 1.29 on, both before)" $key $mode) -}}
{{- else if and (eq $mode "native") (not $native) -}}
  {{- $problems = append $problems (printf "%s.mode is native, which needs Kubernetes 1.29 or newer, and this is %s: set it to both, or leave it out" $key $kube) -}}
{{- end -}}
{{- $config := $values.config -}}
{{- $exitWith := $config.exitWith -}}
{{- $monitoring := list -}}
{{- range $name := list "podMonitor" "serviceMonitor" "prometheusRule" "dashboard" -}}
  {{- if (index $values $name).enabled -}}{{- $monitoring = append $monitoring (printf "%s.enabled" $name) -}}{{- end -}}
{{- end -}}
{{- if eq (toString $values.readiness) "true" -}}{{- $monitoring = append $monitoring "readiness" -}}{{- end -}}
{{- if has $mode (list "init" "secret") -}}
  {{- range $name := $monitoring -}}
    {{- $problems = append $problems (printf "%s.%s is true, but mode %s leaves nothing running that could be scraped or probed: set it to false, or use another mode" $key $name $mode) -}}
  {{- end -}}
{{- end -}}
{{- $agent := ne $mode "secret" -}}
{{- if not $agent -}}
  {{- if not $values.secretName -}}
    {{- $problems = append $problems (printf "%s.secretName is missing, and mode secret mounts a Secret in the agent's place: set it to the name of one in the pod's namespace, whose keys are the files" $key) -}}
  {{- end -}}
  {{- if $values.networkPolicy.enabled -}}
    {{- $problems = append $problems (printf "%s.networkPolicy.enabled is true, but mode secret has no agent whose traffic it could allow: set it to false, or use another mode" $key) -}}
  {{- end -}}
{{- end -}}
{{- $hold := $values.holdBack -}}
{{- if and $hold (not $agent) -}}
  {{- $problems = append $problems (printf "%s.holdBack is %s, but in mode secret kubelet holds the app back until the Secret is there: leave it out, or take mode native or sidecar" $key $hold) -}}
{{- else if and $hold (has $mode (list "init" "both")) -}}
  {{- $problems = append $problems (printf "%s.holdBack is %s, but in mode %s an init container holds the app back: leave it out, or take mode native or sidecar" $key $hold $mode) -}}
{{- else if and (eq $hold "probe") (eq $mode "sidecar") -}}
  {{- $problems = append $problems (printf "%s.holdBack is probe, but kubelet starts the app beside a plain sidecar without waiting for its probes: set it to hook, or take mode native" $key) -}}
{{- else if and (not $hold) (eq $mode "native") -}}
  {{- $hold = "hook" -}}
{{- end -}}
{{- if and .job $agent (ne $mode "native") (not $exitWith) -}}
  {{- $mode = "init" -}}
{{- end -}}
{{- $runs := and $agent (ne $mode "init") -}}
{{- /* kubelet ends no pod, and shows no log, while a hook waits: the agent gives up earlier and says why. */ -}}
{{- if and $runs (eq $hold "hook") (not ($config.startup | default dict).timeout) -}}
  {{- $_ := set $config "startup" (dict "timeout" "30s") -}}
{{- end -}}

{{- $name := $key | kebabcase -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]{0,52}[a-z0-9])?$" $name) -}}
  {{- $problems = append $problems (printf "%q names containers and volumes: give the dependency an alias of lower-case letters, digits and dashes" $key) -}}
{{- end -}}
{{- $owner := $root.Values.fullnameOverride -}}
{{- if not $owner -}}
  {{- $chart := $root.Values.nameOverride | default $root.Chart.Name -}}
  {{- $owner = ternary $root.Release.Name (printf "%s-%s" $root.Release.Name $chart) (contains $chart $root.Release.Name) -}}
{{- end -}}

{{- $image := $values.image -}}
{{- if and $agent (not $image.repository) -}}
  {{- $problems = append $problems (printf "%s.image.repository is missing: there is no published image yet, so build one (make image), push it to your registry and set its name here" $key) -}}
{{- end -}}
{{- $tag := $image.tag -}}
{{- $library := index ($root.Subcharts | default dict) $key -}}
{{- if and (not $tag) $library -}}
  {{- $tag = $library.Chart.AppVersion -}}
{{- end -}}
{{- if and $agent (not (or $tag $image.digest)) -}}
  {{- $problems = append $problems (printf "%s.image.tag is missing, and the library's own version is unknown: set it to the tag that you pushed" $key) -}}
{{- end -}}
{{- $reference := printf "%s:%s" $image.repository $tag -}}
{{- if $image.digest -}}
  {{- $reference = printf "%s@%s" $image.repository $image.digest -}}
{{- end -}}

{{- if or (ne (toString $config.kind) "Config") (ne (toString $config.apiVersion) "freshmount.dev/v1") -}}
  {{- $problems = append $problems (printf "%s.config is a %s of %s, and this chart takes a Config of freshmount.dev/v1: it prints an IAM policy for that alone. Write here what freshmount convert prints; what that leaves out, the agent reads from a ConfigMap of your own, and freshmount plan prints the policy" $key $config.kind $config.apiVersion) -}}
{{- else if and $agent (not $config.secrets) -}}
  {{- $problems = append $problems (printf "%s.config.secrets is missing: list at least one secret with name, secretId and files" $key) -}}
{{- end -}}
{{- $mountPath := $values.mountPath -}}
{{- $volume := $config.volume | default dict -}}
{{- if not $volume.path -}}
  {{- $_ := set $volume "path" (printf "%s/secrets" $mountPath) -}}
{{- else if not (hasPrefix (printf "%s/" $mountPath) $volume.path) -}}
  {{- $problems = append $problems (printf "%s.config.volume.path is %s, outside the volume mounted at %s: remove it, or set a directory below the mount" $key $volume.path $mountPath) -}}
{{- end -}}
{{- $_ := set $config "volume" $volume -}}

{{- with $values.hub.url -}}
  {{- if not (($config.hub | default dict).url) -}}
    {{- $_ := set $config "hub" (merge (dict "url" .) ($config.hub | default dict)) -}}
  {{- end -}}
{{- end -}}
{{- $hub := $config.hub | default dict -}}
{{- if and $hub.url (eq $values.hub.ownLooks "list") (not $hub.ownLooks) -}}
  {{- $hub = merge (dict "ownLooks" "list") $hub -}}
  {{- $_ := set $config "hub" $hub -}}
{{- end -}}

{{- $listen := $config.listen | default "[::]:9105" -}}
{{- $port := regexFind "[0-9]+$" $listen | atoi -}}
{{- if or (lt $port 1) (gt $port 65535) -}}
  {{- $problems = append $problems (printf "%s.config.listen is %s: probes and Prometheus need a fixed port, such as [::]:9105" $key $listen) -}}
{{- else if or (hasPrefix "127." $listen) (hasPrefix "[::1]" $listen) (hasPrefix "localhost:" $listen) -}}
  {{- $problems = append $problems (printf "%s.config.listen is %s: kubelet and Prometheus connect to the pod's address, so listen on [::]:%d" $key $listen $port) -}}
{{- end -}}

{{- $awsPorts := list -}}
{{- with $config.endpointUrl -}}
  {{- $awsPorts = append $awsPorts (include "freshmount.port" . | atoi) -}}
  {{- if or (lt (first $awsPorts) 1) (gt (first $awsPorts) 65535) -}}
    {{- $problems = append $problems (printf "%s.config.endpointUrl is %s: a port must be between 1 and 65535" $key .) -}}
  {{- end -}}
{{- end -}}
{{- $proxyPorts := list -}}
{{- range $variable := $values.extraEnv -}}
  {{- with $variable.value -}}
    {{- if regexMatch "^AWS_ENDPOINT_URL(_SECRETS_MANAGER|_STS)?$" $variable.name -}}
      {{- $awsPorts = append $awsPorts (include "freshmount.port" . | atoi) -}}
    {{- else if has (lower $variable.name) (list "http_proxy" "https_proxy") -}}
      {{- $proxyPorts = append $proxyPorts (include "freshmount.port" . | atoi) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if or (not $awsPorts) (eq $values.aws.identity "irsa") -}}
  {{- $awsPorts = append $awsPorts 443 -}}
{{- end -}}

{{- $seen := list (printf "%s/" $mountPath) -}}
{{- if hasKey $values "subPath" -}}
  {{- $problems = append $problems (printf "%s.subPath: a subPath mount never shows an update, so remove it and read below %s" $key $mountPath) -}}
{{- end -}}
{{- range $mount := $values.extraVolumeMounts -}}
  {{- $seen = append $seen (printf "%s/" (trimSuffix "/" $mount.mountPath)) -}}
  {{- if and (or $mount.subPath $mount.subPathExpr) (has $mount.name (list $name (printf "%s-config" $name))) -}}
    {{- $problems = append $problems (printf "%s.extraVolumeMounts: %s is mounted with subPath, which never shows an update: mount the whole volume" $key $mount.name) -}}
  {{- end -}}
{{- end -}}

{{- $signal := not (not $exitWith) -}}
{{- with (($exitWith | default dict).process | default dict).pidFile -}}
  {{- $reached := false -}}
  {{- $path := . -}}
  {{- range $seen -}}{{- $reached = or $reached (hasPrefix . $path) -}}{{- end -}}
  {{- if not $reached -}}
    {{- $problems = append $problems (printf "%s.config.exitWith: the pidFile is %s, which the agent's container cannot see: set a path below %s, or mount its volume (extraVolumeMounts)" $key . $mountPath) -}}
  {{- end -}}
{{- end -}}
{{- range $target := $config.notify -}}
  {{- $signal = or $signal (hasKey $target "signal") -}}
  {{- $paths := dict -}}
  {{- with $target.touch -}}{{- $_ := set $paths "touch" . -}}{{- end -}}
  {{- with ($target.process | default dict).pidFile -}}{{- $_ := set $paths "pidFile" . -}}{{- end -}}
  {{- range $what, $path := $paths -}}
    {{- $reached := false -}}
    {{- range $seen -}}{{- $reached = or $reached (hasPrefix . $path) -}}{{- end -}}
    {{- if not $reached -}}
      {{- $problems = append $problems (printf "%s.config.notify: %s of %s is %s, which the agent's container cannot see: set a path below %s, or mount its volume (extraVolumeMounts)" $key $what $target.name $path $mountPath) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}

{{- $aws := $values.aws -}}
{{- if and (eq $aws.identity "irsa") (not $aws.roleArn) -}}
  {{- $problems = append $problems (printf "%s.aws.roleArn is missing: set the role that IRSA assumes, or set aws.identity to podIdentity" $key) -}}
{{- end -}}
{{- if has $name $aws.skipContainers -}}
  {{- $problems = append $problems (printf "%s.aws.skipContainers names %s, the agent itself, which needs the credentials: list the app's containers" $key $name) -}}
{{- end -}}

{{- if and $values.podMonitor.enabled $values.serviceMonitor.enabled -}}
  {{- $problems = append $problems (printf "%s.podMonitor and %s.serviceMonitor are both enabled, so each pod would be scraped twice: turn one off" $key $key) -}}
{{- end -}}

{{- $rule := $values.prometheusRule -}}
{{- if $rule.enabled -}}
  {{- $on := list -}}
  {{- range $name, $needs := include "freshmount.alerts.needs" . | fromYaml -}}
    {{- $alert := index $rule.alerts $name -}}
    {{- if $alert.enabled -}}
      {{- $on = append $on $name -}}
      {{- range $need := $needs -}}
        {{- if not (index $alert $need) -}}
          {{- $problems = append $problems (printf "%s.prometheusRule.alerts.%s.%s is missing: give it a value, or turn that alert off (enabled: false)" $key $name $need) -}}
        {{- end -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
  {{- if not $on -}}
    {{- $problems = append $problems (printf "%s.prometheusRule.alerts are all off: turn one on, or set prometheusRule.enabled to false" $key) -}}
  {{- end -}}
  {{- if and $rule.runbookUrl (not (regexMatch "^https?://[^/]" $rule.runbookUrl)) -}}
    {{- $problems = append $problems (printf "%s.prometheusRule.runbookUrl is %s, which does not work as a link in an alert: set a full URL such as https://wiki.example/freshmount/runbook, or remove it" $key $rule.runbookUrl) -}}
  {{- end -}}
{{- end -}}

{{- with $problems -}}
  {{- fail (printf "freshmount: %s" (join "\n  " .)) -}}
{{- end -}}

{{- $openshift := $values.openshift -}}
{{- if not (kindIs "bool" $openshift) -}}
  {{- $openshift = $root.Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- end -}}
{{- $readiness := $values.readiness -}}
{{- if not (kindIs "bool" $readiness) -}}
  {{- $readiness = or (eq $mode "sidecar") (regexMatch "[1-9]" ($config.staleAfter | default "")) -}}
{{- end -}}
{{- /* The agent must give up first, with its reason, before kubelet or the hook does. */ -}}
{{- $year := toDate "2006" "2000" -}}
{{- $startup := sub ($year | mustDateModify (($config.startup | default dict).timeout | default "2m") | unixEpoch | int64) ($year | unixEpoch | int64) -}}
{{- $labels := dict "app.kubernetes.io/name" ($root.Values.nameOverride | default $root.Chart.Name) "app.kubernetes.io/instance" $root.Release.Name -}}
{{- dict
    "enabled" true
    "key" $key
    "name" $name
    "fullname" (printf "%s-%s" ($owner | trunc (sub 62 (len $name) | int) | trimSuffix "-") $name)
    "labels" (merge (dict "app.kubernetes.io/component" $name "app.kubernetes.io/managed-by" $root.Release.Service) $labels)
    "selectorLabels" ($values.selectorLabels | default $labels)
    "namespace" $root.Release.Namespace
    "mode" $mode
    "agent" $agent
    "runs" $runs
    "image" $reference
    "config" $config
    "port" $port
    "awsPorts" (uniq (concat $awsPorts $proxyPorts))
    "hubPort" (ternary (include "freshmount.port" ($hub.url | default "") | atoi) 0 (not (not $hub.url)))
    "token" (and $runs (not (not $hub.url)) (not $hub.tokenPath))
    "openshift" $openshift
    "portName" ($name | trunc 15 | trimSuffix "-")
    "signal" (and $signal $runs)
    "readiness" (and $readiness $runs)
    "holdBack" $hold
    "patience" (add $startup 30)
    "user" (ternary dict (dict "runAsUser" $values.runAsUser "runAsGroup" $values.runAsGroup) $openshift)
    "values" $values
  | toJson -}}
{{- end }}
