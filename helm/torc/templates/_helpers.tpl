{{- define "torc.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 28 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 28 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 28 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "torc.headless" -}}{{ include "torc.fullname" . }}-gossip{{- end -}}

{{- define "torc.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "torc.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "torc.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Labels that select all pods of the release; with a role those of the role. */}}
{{- define "torc.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .role }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- with .zone }}
torc/zone: {{ . }}
{{- end }}
{{- end -}}

{{- define "torc.labels" -}}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: torc
{{ include "torc.selector" . }}
{{- end -}}

{{/* The workloads of the mode, as a list: role (key of its values), name, target, kind, replicas, zone, door (clients come here). */}}
{{- define "torc.workloads" -}}
{{- $full := include "torc.fullname" . -}}
{{- if eq .Values.mode "single" }}
- {role: single, name: {{ $full }}, target: all, kind: StatefulSet, replicas: {{ .Values.single.replicas }}, zone: "", door: true}
{{- else }}
{{- if eq .Values.mode "simple" }}
- {role: front, name: {{ $full }}-front, target: "distributor,querier", kind: Deployment, replicas: {{ .Values.front.replicas }}, zone: "", door: true}
- {role: ingester, name: {{ $full }}-ingester, target: ingester, kind: StatefulSet, replicas: {{ .Values.ingester.replicas }}, zone: "", door: false}
{{- else }}
- {role: distributor, name: {{ $full }}-distributor, target: distributor, kind: Deployment, replicas: {{ .Values.distributor.replicas }}, zone: "", door: true}
- {role: querier, name: {{ $full }}-querier, target: querier, kind: Deployment, replicas: {{ .Values.querier.replicas }}, zone: "", door: true}
{{- range .Values.ingester.zones }}
- {role: ingester, name: {{ $full }}-ingester-{{ .name }}, target: ingester, kind: StatefulSet, replicas: {{ $.Values.ingester.replicasPerZone }}, zone: {{ .name }}, door: false}
{{- end }}
{{- end }}
- {role: compactor, name: {{ $full }}-compactor, target: compactor, kind: StatefulSet, replicas: {{ .Values.compactor.replicas }}, zone: "", door: false}
{{- end }}
{{- end -}}

{{- define "torc.roles" -}}
{{- if eq .Values.mode "single" }}[single]
{{- else if eq .Values.mode "simple" }}[front, ingester, compactor]
{{- else }}[distributor, querier, ingester, compactor]
{{- end }}
{{- end -}}

{{/* Services that clients write to and query. */}}
{{- define "torc.writeService" -}}
{{- $full := include "torc.fullname" . -}}
{{- if eq .Values.mode "single" }}{{ $full }}{{ else if eq .Values.mode "simple" }}{{ $full }}-front{{ else }}{{ $full }}-distributor{{ end -}}
{{- end -}}
{{- define "torc.readService" -}}
{{- $full := include "torc.fullname" . -}}
{{- if eq .Values.mode "single" }}{{ $full }}{{ else if eq .Values.mode "simple" }}{{ $full }}-front{{ else }}{{ $full }}-querier{{ end -}}
{{- end -}}
{{- define "torc.scheme" -}}{{ ternary "https" "http" .Values.tls.http.enabled }}{{- end -}}
{{- define "torc.url" -}}{{ include "torc.scheme" .root }}://{{ .service }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}:9009{{- end -}}

{{/* "true" when one process keeps everything on its own volume. */}}
{{- define "torc.alone" -}}
{{- if and (eq .Values.mode "single") (eq (int .Values.single.replicas) 1) }}true{{ end -}}
{{- end -}}

{{/* Name of the claim that all mount for blocks; empty: none is needed. */}}
{{- define "torc.bucketClaim" -}}
{{- $fs := .Values.bucket.filesystem -}}
{{- if eq .Values.bucket.type "filesystem" -}}
{{- if $fs.existingClaim }}{{ $fs.existingClaim }}{{ else if not (include "torc.alone" .) }}{{ include "torc.fullname" . }}-blocks{{ end -}}
{{- end -}}
{{- end -}}

{{/* The first pods of StatefulSets: their names stay, so a change of replicas restarts nobody. */}}
{{- define "torc.seeds" -}}
{{- $full := include "torc.fullname" . -}}
{{- $pods := list -}}
{{- if eq .Values.mode "single" -}}
{{- if not (include "torc.alone" .) }}{{ $pods = list (printf "%s-0" $full) (printf "%s-1" $full) (printf "%s-2" $full) }}{{ end -}}
{{- else if eq .Values.mode "simple" -}}
{{- range $i := until 3 }}{{ $pods = append $pods (printf "%s-ingester-%d" $full $i) }}{{ end -}}
{{- else -}}
{{- range .Values.ingester.zones }}{{ $pods = append $pods (printf "%s-ingester-%s-0" $full .name) }}{{ end -}}
{{- end -}}
{{- if and $pods (ne .Values.mode "single") }}{{ $pods = append $pods (printf "%s-compactor-0" $full) }}{{ end -}}
{{- range $pods }}
- {{ . }}.{{ include "torc.headless" $ }}.{{ $.Release.Namespace }}.svc.{{ $.Values.clusterDomain }}:9095
{{- end -}}
{{- end -}}

{{- define "torc.s3Secret" -}}
{{- $s3 := .Values.bucket.s3 -}}
{{- if eq .Values.bucket.type "s3" -}}
{{- if $s3.existingSecret }}{{ $s3.existingSecret }}{{ else if $s3.accessKeyId }}{{ include "torc.fullname" . }}-s3{{ end -}}
{{- end -}}
{{- end -}}

{{/* torc.yaml: what the chart knows, under what the user says. */}}
{{- define "torc.config" -}}
{{- $base := dict
    "data-dir" "/data"
    "cluster" (dict "name" (.Values.clusterName | default (printf "%s/%s" .Release.Namespace (include "torc.fullname" .))))
    "server" (dict "http-listen-address" "0.0.0.0" "http-listen-port" 9009 "rpc-listen-address" "0.0.0.0:9095" "shutdown-delay" "10s")
    "compactor" (dict "scratch-dir" "/data/compactor")
    "runtime-config" (dict "file" "/etc/torc-runtime/overrides.yaml")
    "tenancy" (dict "enabled" .Values.tenancy.enabled) -}}
{{- $ring := dict -}}
{{- $seeds := include "torc.seeds" . | fromYamlArray -}}
{{- if $seeds }}{{ $_ := set $ring "seeds" $seeds }}{{ end -}}
{{- if .Values.ring.replicationFactor }}{{ $_ := set $ring "replication-factor" .Values.ring.replicationFactor }}{{ end -}}
{{- if eq .Values.ring.store "etcd" }}{{ $_ := set $ring "store" "etcd" }}{{ $_ := set $ring "etcd" (dict "endpoints" .Values.ring.etcd.endpoints) }}{{ end -}}
{{- if $ring }}{{ $_ := set $base "ring" $ring }}{{ end -}}
{{- $bucket := dict -}}
{{- if eq .Values.bucket.type "s3" -}}
{{- $s3 := .Values.bucket.s3 -}}
{{- $_ := set $bucket "url" (printf "s3://%s%s" $s3.bucket (ternary (printf "/%s" $s3.prefix) "" (ne $s3.prefix ""))) -}}
{{- $o := dict "region" $s3.region -}}
{{- if $s3.endpoint }}{{ $_ := set $o "endpoint" $s3.endpoint }}{{ end -}}
{{- $_ := set $bucket "s3" $o -}}
{{- else if include "torc.bucketClaim" . -}}
{{- $_ := set $bucket "url" "filesystem:///blocks" -}}
{{- else -}}
{{- $_ := set $bucket "url" "filesystem:///data/blocks" -}}
{{- end -}}
{{- $_ := set $base "bucket" $bucket -}}
{{- if .Values.tls.http.enabled -}}
{{- $_ := set $base.server "tls-cert-file" "/etc/torc-tls/http/tls.crt" -}}
{{- $_ := set $base.server "tls-key-file" "/etc/torc-tls/http/tls.key" -}}
{{- end -}}
{{- if .Values.auth.existingSecret }}{{ $_ := set $base "auth" (dict "users-file" "/etc/torc-auth/users.yaml") }}{{ end -}}
{{- if .Values.admin.separatePort }}{{ $_ := set $base.server "admin-listen-address" "0.0.0.0:9010" }}{{ end -}}
{{- toYaml (mergeOverwrite $base (deepCopy .Values.config)) -}}
{{- end -}}

{{/* What the schema cannot say. */}}
{{- define "torc.check" -}}
{{- $v := .Values -}}
{{- if and (eq $v.bucket.type "s3") (not $v.bucket.s3.bucket) }}{{ fail "bucket.type is s3: bucket.s3.bucket names no bucket" }}{{ end -}}
{{- if and $v.bucket.s3.accessKeyId (not $v.bucket.s3.secretAccessKey) }}{{ fail "bucket.s3.accessKeyId has no bucket.s3.secretAccessKey" }}{{ end -}}
{{- if and $v.bucket.s3.accessKeyId $v.bucket.s3.existingSecret }}{{ fail "bucket.s3.accessKeyId and bucket.s3.existingSecret exclude each other" }}{{ end -}}
{{- if and (eq $v.ring.store "etcd") (not $v.ring.etcd.endpoints) }}{{ fail "ring.store is etcd: ring.etcd.endpoints is empty" }}{{ end -}}
{{- if and $v.tls.http.enabled (not $v.tls.http.existingSecret) }}{{ fail "tls.http.enabled: tls.http.existingSecret names no Secret" }}{{ end -}}
{{- if and $v.gateway.enabled (not $v.gateway.parentRefs) }}{{ fail "gateway.enabled: gateway.parentRefs is empty" }}{{ end -}}
{{- if eq $v.mode "zones" -}}
{{- $names := list -}}
{{- range $v.ingester.zones -}}
{{- if has .name $names }}{{ fail (printf "ingester.zones: %s is there twice" .name) }}{{ end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- if gt (int $v.ring.replicationFactor) (len $names) }}{{ fail (printf "ring.replicationFactor is %d, but ingester.zones has only %d" (int $v.ring.replicationFactor) (len $names)) }}{{ end -}}
{{- end -}}
{{- if and (not (include "torc.alone" .)) (eq $v.bucket.type "filesystem") (not $v.bucket.filesystem.existingClaim) (not (has "ReadWriteMany" $v.bucket.filesystem.accessModes)) }}{{ fail "bucket.filesystem.accessModes: several pods mount this volume, it needs ReadWriteMany" }}{{ end -}}
{{- range $role := include "torc.roles" . | fromYamlArray -}}
{{- $a := (index $v $role).autoscaling -}}
{{- if and $a $a.enabled (gt (int $a.minReplicas) (int $a.maxReplicas)) }}{{ fail (printf "%s.autoscaling: minReplicas is %d, more than maxReplicas %d" $role (int $a.minReplicas) (int $a.maxReplicas)) }}{{ end -}}
{{- end -}}
{{- end -}}
