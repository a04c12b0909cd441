{{/* Pods of one role keep apart from each other where they can; ingesters of different zones must. */}}
{{- define "torc.affinity" -}}
{{- $v := index .root.Values .w.role -}}
{{- if $v.affinity }}
{{- toYaml $v.affinity }}
{{- else if .w.zone }}
{{- with $v.zoneTopologyKey }}
podAntiAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    - topologyKey: {{ . }}
      labelSelector:
        matchLabels: {{- include "torc.selector" (dict "root" $.root "role" $.w.role) | nindent 10 }}
        matchExpressions:
          - {key: torc/zone, operator: NotIn, values: [{{ $.w.zone }}]}
{{- end }}
{{- else }}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{- include "torc.selector" (dict "root" .root "role" .w.role) | nindent 12 }}
{{- end }}
{{- end -}}

{{- define "torc.env" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- with include "torc.s3Secret" . }}
- name: TORC_BUCKET_S3_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ . }}, key: access-key-id}}
- name: TORC_BUCKET_S3_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: secret-access-key}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "torc.probe" -}}
httpGet: {path: {{ .path }}, port: http, scheme: {{ include "torc.scheme" .root | upper }}}
{{- end -}}

{{/* A pod of the workload .w: template of its Deployment or StatefulSet. */}}
{{- define "torc.pod" -}}
{{- $root := .root -}}
{{- $w := .w -}}
{{- $v := index $root.Values $w.role -}}
{{- $zone := dict -}}
{{- range $root.Values.ingester.zones }}{{ if eq .name $w.zone }}{{ $zone = . }}{{ end }}{{ end -}}
metadata:
  labels:
    {{- include "torc.labels" (dict "root" $root "role" $w.role "zone" $w.zone) | nindent 4 }}
    {{- if eq $w.role "ingester" }}
    name: {{ $w.name }}
    rollout-group: {{ include "torc.fullname" $root }}-ingester
    {{- end }}
  annotations:
    checksum/config: {{ include "torc.config" $root | sha256sum }}
    {{- with $v.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "torc.serviceAccountName" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $v.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext: {{- toYaml $root.Values.podSecurityContext | nindent 4 }}
  terminationGracePeriodSeconds: {{ $v.terminationGracePeriodSeconds }}
  {{- with merge (dict) ($zone.nodeSelector | default dict) $v.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "torc.affinity" . }}
  affinity: {{- . | nindent 4 }}
  {{- end }}
  {{- if $root.Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range $root.Values.topologySpreadConstraints }}
    - {{- toYaml . | nindent 6 }}
      labelSelector:
        matchLabels: {{- include "torc.selector" (dict "root" $root "role" $w.role "zone" $w.zone) | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: torc
      image: {{ include "torc.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        - --config.file=/etc/torc/torc.yaml
        - --target={{ $w.target }}
        - --instance.id=$(POD_NAME)
        {{- if $w.zone }}
        - --instance.zone={{ $w.zone }}
        {{- else if and (has $w.role (list "ingester" "single")) (gt (int $w.replicas) 1) }}
        - --instance.zone=$(POD_NAME)
        {{- end }}
        - --ring.advertise-address=$(POD_IP):9095
        - --ring.advertise-http-address=$(POD_IP):9009
        {{- range $v.extraArgs }}
        - {{ . | quote }}
        {{- end }}
      env: {{- include "torc.env" $root | nindent 8 }}
      {{- with $root.Values.extraEnvFrom }}
      envFrom: {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: http, containerPort: 9009}
        - {name: rpc, containerPort: 9095}
        {{- if $root.Values.admin.separatePort }}
        - {name: admin, containerPort: 9010}
        {{- end }}
      startupProbe:
        {{- include "torc.probe" (dict "root" $root "path" "/-/healthy") | nindent 8 }}
        {{- toYaml $root.Values.probes.startup | nindent 8 }}
      readinessProbe:
        {{- include "torc.probe" (dict "root" $root "path" "/ready") | nindent 8 }}
        {{- toYaml $root.Values.probes.readiness | nindent 8 }}
      {{- if $root.Values.probes.liveness.enabled }}
      livenessProbe:
        {{- include "torc.probe" (dict "root" $root "path" "/-/healthy") | nindent 8 }}
        {{- toYaml (omit $root.Values.probes.liveness "enabled") | nindent 8 }}
      {{- end }}
      resources: {{- toYaml $v.resources | nindent 8 }}
      securityContext: {{- toYaml $root.Values.containerSecurityContext | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/torc, readOnly: true}
        - {name: runtime-config, mountPath: /etc/torc-runtime, readOnly: true}
        - {name: data, mountPath: /data}
        {{- if and (include "torc.bucketClaim" $root) (ne $w.role "distributor") }}
        - {name: blocks, mountPath: /blocks}
        {{- end }}
        {{- if $root.Values.tls.http.enabled }}
        - {name: http-tls, mountPath: /etc/torc-tls/http, readOnly: true}
        {{- end }}
        {{- if $root.Values.auth.existingSecret }}
        - {name: auth, mountPath: /etc/torc-auth, readOnly: true}
        {{- end }}
  volumes:
    - name: config
      {{- if $root.Values.configAsSecret }}
      secret: {secretName: {{ include "torc.fullname" $root }}-config}
      {{- else }}
      configMap: {name: {{ include "torc.fullname" $root }}-config}
      {{- end }}
    - name: runtime-config
      configMap: {name: {{ include "torc.fullname" $root }}-runtime}
    {{- if eq $w.kind "Deployment" }}
    - name: data
      emptyDir: {}
    {{- end }}
    {{- if and (include "torc.bucketClaim" $root) (ne $w.role "distributor") }}
    - name: blocks
      persistentVolumeClaim: {claimName: {{ include "torc.bucketClaim" $root }}}
    {{- end }}
    {{- if $root.Values.tls.http.enabled }}
    - name: http-tls
      secret: {secretName: {{ $root.Values.tls.http.existingSecret }}}
    {{- end }}
    {{- with $root.Values.auth.existingSecret }}
    - name: auth
      secret: {secretName: {{ . }}}
    {{- end }}
{{- end -}}
