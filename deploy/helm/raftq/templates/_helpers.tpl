{{/* NAME: what every object is called after. */}}
{{- define "raftq.name" -}}
{{- .Values.fullnameOverride | default .Release.Name -}}
{{- end -}}

{{/* What selects the pods of this release, and never changes while it lives. */}}
{{- define "raftq.selector" -}}
app.kubernetes.io/name: raftq
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "raftq.labels" -}}
{{ include "raftq.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
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
  value: {{ include "raftq.name" . }}-headless
- name: RAFTQ_BIRTH_REPLICAS
  value: {{ .Values.replicaCount | quote }}
- name: RAFTQ_POD_SELECTOR
  value: app.kubernetes.io/name=raftq,app.kubernetes.io/instance={{ .Release.Name }}
- name: RAFTQ_LABEL_KEY
  value: {{ .Values.roleLabel }}
- name: RAFTQ_PROFILE
  value: {{ .Values.profile | default (ternary "steady" "fast" (gt (len .Values.extraContainers) 0)) }}
- name: RAFTQ_LOG_FORMAT
  value: {{ .Values.log.format }}
- name: RAFTQ_LOG_LEVEL
  value: {{ .Values.log.level }}
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
{{- /* The environment of a living release tells what it was born with. */ -}}
{{- range dig "spec" "template" "spec" "containers" list (lookup "apps/v1" "StatefulSet" .Release.Namespace $name) -}}
{{- range .env -}}
{{- if and (eq .name "RAFTQ_BIRTH_REPLICAS") (ne .value (toString $.Values.replicaCount)) -}}
{{- fail (printf "replicaCount %d: this cluster has %s members, and in this release they are fixed at its birth. To begin anew with another number: helm uninstall, then delete its volumes" (int $.Values.replicaCount) .value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $taken := list "statefulset.kubernetes.io/pod-name" "apps.kubernetes.io/pod-index" "controller-revision-hash" -}}
{{- $taken = concat $taken (keys (include "raftq.labels" . | fromYaml)) -}}
{{- if has .Values.roleLabel $taken -}}
{{- fail (printf "roleLabel %q: that label selects or identifies the pods already; choose another key" .Values.roleLabel) -}}
{{- end -}}
{{- range $key := keys .Values.podLabels | sortAlpha -}}
{{- if eq $key $.Values.roleLabel -}}
{{- fail (printf "podLabels sets %q, the label by which the agents say who leads: name it otherwise, or set roleLabel to another key" $key) -}}
{{- end -}}
{{- if has $key $taken -}}
{{- fail (printf "podLabels sets %q, which the chart or Kubernetes sets itself: name it otherwise" $key) -}}
{{- end -}}
{{- end -}}
{{- range $key := keys .Values.podAnnotations | sortAlpha -}}
{{- if hasPrefix "raftq.io/" $key -}}
{{- fail (printf "podAnnotations sets %q: the agents write the annotations of raftq.io/ themselves" $key) -}}
{{- end -}}
{{- end -}}
{{- $environment := list -}}
{{- range include "raftq.environment" . | fromYamlArray -}}
{{- $environment = append $environment .name -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if has .name $environment -}}
{{- fail (printf "extraEnv sets %s, which the chart sets itself: use the value for it, or extraArgs" .name) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraContainers -}}
{{- if eq .name "agent" -}}
{{- fail "extraContainers names a container \"agent\": the agent itself is called so" -}}
{{- end -}}
{{- end -}}
{{- end -}}
