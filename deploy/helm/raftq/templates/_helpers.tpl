{{/* NAME: what every object is called after. */}}
{{- define "raftq.name" -}}
{{- .Values.fullnameOverride | default .Release.Name -}}
{{- end -}}

{{/* What selects the pods of this release, and never changes while it lives. */}}
{{- define "raftq.selector" -}}
app.kubernetes.io/name: raftq
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "raftq.labels" -}}
{{ include "raftq.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{- define "raftq.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "raftq.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "raftq.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* The Secret by which members know each other. */}}
{{- define "raftq.peersSecret" -}}
{{- .Values.peers.secretName | default (printf "%s-peers" (include "raftq.name" .)) -}}
{{- end -}}

{{/* What the chart itself tells the agent: a name and a value, or the field of the pod, each. */}}
{{- define "raftq.environment" -}}
- name: RAFTQ_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: RAFTQ_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: RAFTQ_POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
- name: RAFTQ_SERVICE
  value: {{ printf "%s-headless" (include "raftq.name" .) | quote }}
- name: RAFTQ_BIRTH
  value: {{ .Values.birth | quote }}
- name: RAFTQ_BIRTH_REPLICAS
  value: {{ .Values.replicaCount | quote }}
- name: RAFTQ_POD_SELECTOR
  value: {{ printf "app.kubernetes.io/name=raftq,app.kubernetes.io/instance=%s" .Release.Name | quote }}
- name: RAFTQ_LABEL_KEY
  value: {{ .Values.roleLabel | quote }}
- name: RAFTQ_PROFILE
  value: {{ .Values.profile | default (.Values.extraContainers | empty | ternary "fast" "steady") | quote }}
{{- if eq .Values.peers.authentication "secret" }}
- name: RAFTQ_PEER_SECRET_FILE
  value: /etc/raftq/peers/secret
{{- end }}
{{- if eq .Values.peers.authentication "tls" }}
- name: RAFTQ_TLS_CERT
  value: /etc/raftq/peers/tls.crt
- name: RAFTQ_TLS_KEY
  value: /etc/raftq/peers/tls.key
- name: RAFTQ_TLS_CA
  value: /etc/raftq/peers/ca.crt
{{- end }}
{{- if .Values.token.secretName }}
- name: RAFTQ_TOKEN_FILE
  value: /etc/raftq/token/token
- name: RAFTQ_AUTH_READS
  value: {{ .Values.token.reads | ternary "on" "off" | quote }}
{{- end }}
- name: RAFTQ_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
- name: RAFTQ_LOG_LEVEL
  value: {{ .Values.log.level | quote }}
{{- end -}}

{{/* The secrets that the agent reads, again whenever the kubelet writes them anew: a name and a Secret each. */}}
{{- define "raftq.secrets" -}}
{{- if ne .Values.peers.authentication "none" }}
peers: {{ include "raftq.peersSecret" . | quote }}
{{- end }}
{{- with .Values.token.secretName }}
token: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The ports of a Service that people and applications use. */}}
{{- define "raftq.ports" -}}
- name: http
  port: {{ .Values.service.port }}
  targetPort: http
  appProtocol: http
{{- with .Values.service.extraPorts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What no schema can say: refused with a sentence before anything is made. */}}
{{- define "raftq.validate" -}}
{{- $name := include "raftq.name" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$" $name) -}}
{{- fail (printf "the name %q does not fit: Services and pods are named after it, so it is made of at most 52 small letters, digits and hyphens and begins with a letter (set fullnameOverride)" $name) -}}
{{- end -}}
{{- if lt (int .Values.replicaCount) 1 -}}
{{- fail (printf "replicaCount %d: a cluster has at least one member. To stop a running one and keep its volumes: kubectl scale statefulset %s --replicas=0" (int .Values.replicaCount) $name) -}}
{{- end -}}
{{- if gt (int .Values.replicaCount) 64 -}}
{{- fail (printf "replicaCount %d: the Role names the pods %s-0 to %s-63, so a cluster has at most 64" (int .Values.replicaCount) $name $name) -}}
{{- end -}}
{{- if and (eq .Values.peers.authentication "tls") (not .Values.peers.secretName) -}}
{{- fail (printf "peers.authentication tls: name the Secret that holds tls.crt, tls.key and ca.crt in peers.secretName; its certificate is for *.%s-headless.%s.svc" $name .Release.Namespace) -}}
{{- end -}}
{{- if and .Values.token.reads (not .Values.token.secretName) -}}
{{- fail "token.reads asks for a token to read, but token.secretName names none" -}}
{{- end -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) 35 -}}
{{- fail (printf "terminationGracePeriodSeconds %d: a pod needs up to 35 s to hand over, and is killed before" (int .Values.terminationGracePeriodSeconds)) -}}
{{- end -}}
{{- range concat (.Values.extraVolumes | default list) (.Values.extraVolumeMounts | default list) -}}
{{- if has .name (list "data" "peers" "token") -}}
{{- fail (printf "extraVolumes and extraVolumeMounts: the volume %q is the chart's own" .name) -}}
{{- end -}}
{{- end -}}
{{- /* The environment of a living release tells what it was born with. */ -}}
{{- range dig "spec" "template" "spec" "containers" list (lookup "apps/v1" "StatefulSet" .Release.Namespace $name) -}}
{{- range .env -}}
{{- if and (eq .name "RAFTQ_BIRTH_REPLICAS") (ne .value (toString $.Values.replicaCount)) -}}
{{- fail (printf "replicaCount %d: this cluster has %s members, and in this release they are fixed at its birth. To begin anew with another number: helm uninstall, then delete its volumes" (int $.Values.replicaCount) .value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- /* Under another name it would be another cluster, with empty volumes, in place of the living one. */ -}}
{{- range (lookup "apps/v1" "StatefulSet" .Release.Namespace "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- if and (eq (get $labels "app.kubernetes.io/name") "raftq") (eq (get $labels "app.kubernetes.io/instance") $.Release.Name) (ne .metadata.name $name) -}}
{{- fail (printf "the name %q: this release made the StatefulSet %q, whose volumes no other name would find (set fullnameOverride back, or install a release of its own)" $name .metadata.name) -}}
{{- end -}}
{{- end -}}
{{- $taken := list "statefulset.kubernetes.io/pod-name" "apps.kubernetes.io/pod-index" "controller-revision-hash" -}}
{{- $taken = concat $taken (keys (include "raftq.labels" . | fromYaml)) -}}
{{- if has .Values.roleLabel $taken -}}
{{- fail (printf "roleLabel %q: that label selects or identifies the pods already; choose another key" .Values.roleLabel) -}}
{{- end -}}
{{- range $key := keys (.Values.podLabels | default dict) | sortAlpha -}}
{{- if eq $key $.Values.roleLabel -}}
{{- fail (printf "podLabels sets %q, the label by which the agents say who leads: name it otherwise, or set roleLabel to another key" $key) -}}
{{- end -}}
{{- if has $key $taken -}}
{{- fail (printf "podLabels sets %q, which the chart or Kubernetes sets itself: name it otherwise" $key) -}}
{{- end -}}
{{- end -}}
{{- range $key := keys (.Values.podAnnotations | default dict) | sortAlpha -}}
{{- if hasPrefix "raftq.io/" $key -}}
{{- fail (printf "podAnnotations sets %q: the agents write the annotations of raftq.io/ themselves" $key) -}}
{{- end -}}
{{- end -}}
{{- $environment := list -}}
{{- range include "raftq.environment" . | fromYamlArray -}}
{{- $environment = append $environment .name -}}
{{- end -}}
{{- $fixed := dict "RAFTQ_HTTP_PORT" "--http-port" "RAFTQ_RAFT_PORT" "--raft-port" "RAFTQ_DATA" "--data" -}}
{{- range .Values.extraEnv -}}
{{- if hasKey $fixed .name -}}
{{- fail (printf "extraEnv sets %s, but ports, probes and the volume of this chart rely on its default" .name) -}}
{{- end -}}
{{- if has .name $environment -}}
{{- fail (printf "extraEnv sets %s, which the chart sets itself: use the value for it, or extraArgs" .name) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraArgs -}}
{{- if has (splitList "=" . | first) (values $fixed) -}}
{{- fail (printf "extraArgs sets %s, but ports, probes and the volume of this chart rely on its default" .) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraContainers -}}
{{- $container := .name -}}
{{- range .ports -}}
{{- if has .name (list "http" "raft") -}}
{{- fail (printf "extraContainers: %s has a port %q; the agent's is called so, and Services and probes find it by that name" $container .name) -}}
{{- end -}}
{{- end -}}
{{- if eq .name "agent" -}}
{{- fail "extraContainers names a container \"agent\": the agent itself is called so" -}}
{{- end -}}
{{- end -}}
{{- end -}}
