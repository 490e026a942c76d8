{{/*
CEL expressions that all policies share, as `variables`. `.template` is the expression of what has the pod's metadata and spec.
Each is total: whatever a pod says makes a problem with a sentence, never an error of CEL.
*/}}
{{- define "injector.variables" -}}
{{- $agent := include "injector.agent" .root | fromJson -}}
{{- $port := (first $agent.container.ports).containerPort -}}
{{- $volumes := list -}}
{{- range $agent.volumes -}}{{- $volumes = append $volumes .name -}}{{- end -}}
- name: template
  expression: >-
    {{ .template }}
- name: labels
  expression: variables.template.?metadata.?labels.orValue({})
- name: annotations
  expression: variables.template.?metadata.?annotations.orValue({})
- name: asked
  expression: variables.labels[?'freshmount.dev/inject'].orValue('') == 'true'
- name: containers
  expression: variables.template.spec.?initContainers.orValue([]) + variables.template.spec.?containers.orValue([])
# The agent is there: injected, or rendered by the library chart.
- name: there
  expression: variables.containers.exists(c, c.name in ['{{ $agent.container.name }}', '{{ $agent.container.name }}-init'])
- name: names
  expression: variables.containers.map(c, c.name)
# The containers that get the mount.
- name: chosen
  expression: >-
    'freshmount.dev/containers' in variables.annotations
    ? variables.annotations['freshmount.dev/containers'].split(',').map(name, name.trim())
    : variables.names.map(name, string(name))
- name: path
  expression: variables.annotations[?'freshmount.dev/mount-path'].orValue('{{ $agent.mount.mountPath }}')
- name: secrets
  expression: >-
    'freshmount.dev/secrets' in variables.annotations
    ? variables.annotations['freshmount.dev/secrets'].split(',').map(item, item.trim())
    : []
- name: signal
  expression: variables.annotations[?'freshmount.dev/signal'].orValue('')
# The uid of each container of the app that gets the mount, -1 where only its image knows.
- name: podUser
  expression: variables.template.spec.?securityContext.?runAsUser.orValue(-1)
- name: users
  expression: >-
    variables.template.spec.?containers.orValue([]).filter(c, c.name in variables.chosen)
    .map(c, c.?securityContext.?runAsUser.orValue(variables.podUser))
# The agent's: that of the app, because only it can read what the app reads, and signal the app. Never root. -1: its image's.
- name: user
  {{- if hasKey $agent.container.securityContext "runAsUser" }}
  expression: {{ $agent.container.securityContext.runAsUser | int64 }}
  {{- else }}
  expression: >-
    variables.users.size() > 0 && variables.users.all(user, user == variables.users[0]) && variables.users[0] > 0
    ? variables.users[0]
    : variables.podUser == 0 ? 65532 : variables.podUser
  {{- end }}
# What is wrong with the keys under our prefix, by themselves.
- name: keys
  expression: |-
    (variables.labels[?'freshmount.dev/inject'].orValue('true') in ['true', 'false'] ? [] :
      ['the label freshmount.dev/inject is ' + variables.labels['freshmount.dev/inject'] + ': set it to "true", or to "false"'])
    + variables.labels.map(key, key).filter(key, key.startsWith('freshmount.dev/') && key != 'freshmount.dev/inject').map(key,
      'the label ' + key + ' is not known: freshmount.dev/inject is the only label, all else is an annotation')
    + variables.annotations.map(key, key).filter(key, key.startsWith('freshmount.dev/') && !(key in [
        'freshmount.dev/config', 'freshmount.dev/secrets', 'freshmount.dev/containers', 'freshmount.dev/mount-path',
        'freshmount.dev/signal', 'freshmount.dev/injected'])).map(key,
      key == 'freshmount.dev/inject'
      ? 'freshmount.dev/inject is an annotation here: make it a label of the pod'
      : 'the annotation ' + key + ' is not known: it must be one of config, secrets, containers, mount-path and signal')
    + (!('freshmount.dev/inject' in variables.labels) && !variables.there
        && variables.annotations.exists(key, key.startsWith('freshmount.dev/')) ?
      ['the pod has annotations of freshmount.dev and not the label freshmount.dev/inject: "true", without which they have no effect: add it to the labels of the pod (of a workload: in its template)'] : [])
# What keeps a pod from being injected: all of it in one answer.
- name: problems
  expression: |-
    (variables.labels[?'freshmount.dev/inject'].orValue('') == 'false' ? [] : variables.keys)
    + (!variables.asked || variables.there ? [] :
      (variables.template.spec.?os.?name.orValue('linux') == 'linux' ? [] :
        ['the agent runs on Linux only, and spec.os.name is ' + variables.template.spec.os.name])
      + ('freshmount.dev/config' in variables.annotations && 'freshmount.dev/secrets' in variables.annotations ?
        ['the annotations freshmount.dev/config and freshmount.dev/secrets are both there: keep one of them'] : [])
      + ('freshmount.dev/config' in variables.annotations || 'freshmount.dev/secrets' in variables.annotations ? [] :
        ['the pod names no secrets: add the annotation freshmount.dev/secrets ("db=arn:aws:secretsmanager:…"), or freshmount.dev/config with the name of a ConfigMap that has config.yaml'])
      + (variables.annotations[?'freshmount.dev/config'].orValue('x').matches('^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$') ? [] :
        ['freshmount.dev/config is not the name of a ConfigMap'])
      + variables.secrets.transformList(i, item, !item.matches({{ include "injector.secretPattern" . | squote }}),
        'freshmount.dev/secrets: item ' + string(i + 1) + ' is neither NAME=ARN (Secrets Manager or Parameter Store) nor NAME=secret:NAME (a Kubernetes Secret that Freshmount pushed to AWS)')
      + variables.secrets.map(item, item.split('=')[0]).transformList(i, name,
        variables.secrets.map(item, item.split('=')[0]).indexOf(name) != i,
        'freshmount.dev/secrets: item ' + string(i + 1) + ' has the name of an earlier one')
      + variables.chosen.filter(name, !(name in variables.names)).map(name,
        'freshmount.dev/containers names "' + name + '", and the containers of the pod are ' + variables.names.map(name, string(name)).join(', '))
      + (variables.path.matches('^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$')
          && !variables.path.matches({{ include "injector.systemPattern" . | squote }})
          && !variables.path.startsWith('{{ $agent.mount.mountPath }}/') ? [] :
        ['freshmount.dev/mount-path must be an absolute path such as /run/app-secrets, of letters, digits, ".", "_" and "-", no system directory and not below {{ $agent.mount.mountPath }}'])
      + variables.containers.filter(c, c.name in variables.chosen && c.?volumeMounts.orValue([]).exists(mount,
          (mount.mountPath + '/').startsWith(variables.path + '/'))).map(c,
        'container ' + c.name + ' mounts a volume at ' + variables.path + ' or below it already: choose another place (freshmount.dev/mount-path), or leave the container out (freshmount.dev/containers)')
      + variables.template.spec.?volumes.orValue([]).filter(volume, volume.name in [{{ range $i, $name := $volumes }}{{ if $i }}, {{ end }}'{{ $name }}'{{ end }}]
          || volume.name.matches('^freshmount-secret-[0-9]+$')).map(volume,
        'the pod has a volume ' + volume.name + ', and the injector adds one of that name: rename it')
      + variables.containers.filter(c, c.?ports.orValue([]).exists(port, port.containerPort == {{ $port }})).map(c,
        'container ' + c.name + ' has port {{ $port }}, where the agent listens: give it another')
      + (!('freshmount.dev/signal' in variables.annotations) ? [] :
        (variables.signal.matches('^SIG(HUP|INT|QUIT|USR1|USR2|TERM|CONT|WINCH):[^/:,\\s]+$') ? [] :
          ['freshmount.dev/signal is not SIGNAL:PROCESS, such as SIGHUP:nginx; a signal is SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGCONT or SIGWINCH'])
        + (variables.template.spec.?hostPID.orValue(false) ?
          ['freshmount.dev/signal needs a process namespace that is the pod\'s alone, and hostPID is true: remove one'] : [])
        + (variables.template.spec.?shareProcessNamespace.orValue(true) ? [] :
          ['freshmount.dev/signal needs shareProcessNamespace, which the pod sets to false: remove one'])
        + (variables.users.size() == 0 || variables.user == -1 || variables.users.exists(user, user == -1 || user == variables.user) ? [] :
          ['freshmount.dev/signal: only a process of the agent\'s uid can be signalled, which would be ' + string(variables.user) + ', and those of the app are ' + variables.users.map(user, string(user)).join(', ') + ': let them run as one uid, not root']))
      + ('freshmount.dev/injected' in variables.annotations ?
        ['freshmount.dev/injected is what the injector writes: remove it'] : []))
{{- end }}

{{/* An item of freshmount.dev/secrets; the agent's own patterns of names and ARNs. */}}
{{- define "injector.secretPattern" -}}
^[A-Za-z0-9][A-Za-z0-9._-]{0,62}=(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@!-]+|arn:aws[a-z-]*:ssm:[a-z0-9-]+:[0-9]{12}:parameter/[A-Za-z0-9/_.-]+|secret:[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)$
{{- end }}

{{/* Where a mount would take something away that the app needs. */}}
{{- define "injector.systemPattern" -}}
^(/usr)?/(bin|sbin|lib|lib32|lib64)(/.*)?$|^/(boot|dev|proc|sys)(/.*)?$|^/etc/freshmount(/.*)?$|^(/var)?/run/secrets/(kubernetes|eks.amazonaws)[.](io|com)(/.*)?$|^/(etc(/ssl(/certs)?)?|home|opt|root|(var/)?(run|tmp)|usr(/local|/share)?|var(/lib|/log)?)$
{{- end }}
