{{/* Names ------------------------------------------------------------------------------------------------------ */}}

{{- define "stager-medic.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* A Service's name has 63 letters at the most: room is left for -exporter-syslog. */}}
{{- define "stager-medic.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 47 | trimSuffix "-" }}
{{- else }}
{{- $name := include "stager-medic.name" . }}
{{- /* A release's name may have dots, a Service's may not. */}}
{{- $release := .Release.Name | replace "." "-" }}
{{- if contains $name $release }}
{{- $release | trunc 47 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" $release $name | trunc 47 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "stager-medic.exporter" -}}
{{ include "stager-medic.fullname" . }}-exporter
{{- end }}

{{- define "stager-medic.remediator" -}}
{{ include "stager-medic.fullname" . }}-remediator
{{- end }}

{{/* The namespace of Cloud Foundry: pods are looked at and restarted there, Roles stand there. */}}
{{- define "stager-medic.namespace" -}}
{{- .Values.foundation.namespace | default .Release.Namespace }}
{{- end }}

{{/* Labels ----------------------------------------------------------------------------------------------------- */}}

{{/* For selectors: never changed between releases. Called with (list . "exporter"). */}}
{{- define "stager-medic.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ include "stager-medic.name" $ | quote }}
app.kubernetes.io/instance: {{ $.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "stager-medic.labels" -}}
{{- $ := index . 0 -}}
{{ include "stager-medic.selector" . }}
app.kubernetes.io/part-of: stager-medic
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
{{- with $.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Accounts, image, secrets ----------------------------------------------------------------------------------- */}}

{{/* Called with (list . "exporter"). */}}
{{- define "stager-medic.serviceAccount" -}}
{{- $ := index . 0 -}}
{{- $account := (index $.Values (index . 1)).serviceAccount -}}
{{- if $account.create }}
{{- $account.name | default (include (printf "stager-medic.%s" (index . 1)) $) }}
{{- else }}
{{- $account.name }}
{{- end }}
{{- end }}

{{- define "stager-medic.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "stager-medic.credentialsSecret" -}}
{{- .Values.remediator.credentials.existingSecret | default (printf "%s-credentials" (include "stager-medic.remediator" .)) }}
{{- end }}

{{/* What the foundation is: from the layout's overrides, else what all layouts have. --------------------------- */}}

{{- define "stager-medic.ledger" -}}
{{- $layout := .Values.foundation.layout -}}
{{- if kindIs "map" $layout -}}
stager-medic-{{ dig "roles" "bbs" "statefulset" "diego-api" $layout }}
{{- else -}}
stager-medic-diego-api
{{- end -}}
{{- end }}

{{/*
The pods that may ever be restarted, as a JSON list of names: a StatefulSet's pods are numbered from 0, and more than
maxPods are never restarted.
*/}}
{{- define "stager-medic.restartable" -}}
{{- if .Values.remediator.pods }}
{{- toJson .Values.remediator.pods }}
{{- else }}
{{- $known := include "stager-medic.file" (list . "files/layouts.yaml") | fromYaml }}
{{- $layout := .Values.foundation.layout }}
{{- $sets := list }}
{{- if kindIs "map" $layout }}
{{- $roles := $layout.roles | default dict }}
{{- $sets = list (dig "bbs" "statefulset" "diego-api" $roles) }}
{{- range without (get $known $layout.base) "diego-api" }}
{{- if not (and (hasKey $roles "locket") (not $roles.locket)) }}
{{- $sets = append $sets (dig "locket" "statefulset" . $roles) }}
{{- end }}
{{- else }}
{{- with $roles.locket }}{{ $sets = append $sets .statefulset }}{{ end }}
{{- end }}
{{- else if eq $layout "auto" }}
{{- range $known }}{{ $sets = concat $sets . | uniq }}{{ end }}
{{- else }}
{{- $sets = get $known $layout }}
{{- end }}
{{- $names := list }}
{{- $most := min (int .Values.foundation.maxPods) (int .Values.remediator.maxPods) | int }}
{{- range $set := sortAlpha $sets }}
{{- range $ordinal := until $most }}{{ $names = append $names (printf "%s-%d" $set $ordinal) }}{{ end }}
{{- end }}
{{- toJson $names }}
{{- end }}
{{- end }}

{{/* The pods' own and the Service's, as a JSON list: one, unless the layout is overridden. */}}
{{- define "stager-medic.bbsPorts" -}}
{{- $layout := .Values.foundation.layout -}}
{{- $ports := list 8889 -}}
{{- if kindIs "map" $layout }}
{{- $ports = list (dig "bbs_port" 8889 $layout | int) (dig "service" "port" 8889 $layout | int) | uniq }}
{{- end }}
{{- toJson $ports }}
{{- end }}

{{- define "stager-medic.locketPort" -}}
{{- $layout := .Values.foundation.layout -}}
{{- if kindIs "map" $layout }}{{ dig "locket_port" 8891 $layout }}{{ else }}8891{{ end }}
{{- end }}

{{/* Empty where no database is to be asked. */}}
{{- define "stager-medic.databasePort" -}}
{{- with .Values.foundation.database }}
{{- if ne .kind "none" }}{{ .port | default (ternary 3306 5432 (eq .kind "mysql")) }}{{ end }}
{{- end }}
{{- end }}

{{/* Configuration ---------------------------------------------------------------------------------------------- */}}

{{/*
What both programs read: the foundation and how to probe it. Called with (list . "exporter").
Paths are relative to the file's own folder (../bbs is /etc/stager-medic/bbs), so that a rendered file can be tried
anywhere.
*/}}
{{- define "stager-medic.sharedConfig" -}}
{{- $ := index . 0 -}}
{{- $program := index $.Values (index . 1) -}}
{{- $given := $.Values.foundation -}}
{{- $bbs := dict "depth" $given.bbs.depth "connections" (int $given.bbs.connections) -}}
{{- with $given.bbs.certificate }}
{{- if .secret }}
{{- if .caKey }}{{ $_ := set $bbs "ca_file" "../bbs/ca.crt" }}{{ end }}
{{- if .certKey }}
{{- $_ := set $bbs "cert_file" "../bbs/tls.crt" }}
{{- $_ := set $bbs "key_file" "../bbs/tls.key" }}
{{- end }}
{{- end }}
{{- end }}
{{- $foundation := dict
  "name" $given.name
  "namespace" (include "stager-medic.namespace" $)
  "layout" $given.layout
  "settle" $given.settle
  "max_pods" (int $given.maxPods)
  "bbs" $bbs
  "exec" $program.exec.enabled
-}}
{{- with $given.database }}
{{- $database := dict "kind" .kind -}}
{{- with .host }}{{ $_ := set $database "host" . }}{{ end }}
{{- with .port }}{{ $_ := set $database "port" (int .) }}{{ end }}
{{- with .interval }}{{ $_ := set $database "interval" . }}{{ end }}
{{- $_ := set $foundation "database" $database }}
{{- end }}
{{- toYaml (dict "foundations" (list $foundation) "probe" (dict "interval" $.Values.probe.interval "timeout" $.Values.probe.timeout)) }}
{{- end }}

{{/* Whether a program has a web.yml. Called with its values. */}}
{{- define "stager-medic.hasWebFile" -}}
{{- if or .web.tls.enabled (.web.basicAuthUsers | default dict) }}yes{{ end }}
{{- end }}

{{- define "stager-medic.webFile" -}}
{{- $web := dict -}}
{{- with .web.tls }}
{{- if .enabled }}
{{- $tls := dict "cert_file" "../tls/tls.crt" "key_file" "../tls/tls.key" "min_version" .minVersion -}}
{{- if ne .clientAuthType "NoClientCert" }}
{{- $_ := set $tls "client_auth_type" .clientAuthType }}
{{- $_ := set $tls "client_ca_file" "../tls/client-ca.crt" }}
{{- end }}
{{- $_ := set $web "tls_server_config" $tls }}
{{- end }}
{{- end }}
{{- with .web.basicAuthUsers }}
{{- $_ := set $web "basic_auth_users" . }}
{{- end }}
{{- toYaml $web }}
{{- end }}

{{/* Pods ------------------------------------------------------------------------------------------------------- */}}

{{/*
Probes follow TLS. A kubelet has no client certificate: where one is asked of everybody, it only sees whether the port is
open. Called with (list values path).
*/}}
{{- define "stager-medic.probe" -}}
{{- $tls := (index . 0).web.tls -}}
{{- if and $tls.enabled (eq $tls.clientAuthType "RequireAndVerifyClientCert") -}}
tcpSocket:
  port: web
{{- else -}}
httpGet:
  path: {{ index . 1 }}
  port: web
  scheme: {{ ternary "HTTPS" "HTTP" $tls.enabled }}
{{- end }}
{{- end }}

{{/* Files of the BBS client certificate and of TLS, for a pod's volumes. Called with (list . values). */}}
{{- define "stager-medic.secretVolumes" -}}
{{- $ := index . 0 -}}
{{- $program := index . 1 -}}
{{- with $.Values.foundation.bbs.certificate }}
{{- if .secret }}
- name: bbs
  secret:
    secretName: {{ .secret | quote }}
    defaultMode: 0440
    # These keys only: the platform's Secret may hold every other secret of the foundation.
    items:
      {{- with .caKey }}
      - {key: {{ . | quote }}, path: ca.crt}
      {{- end }}
      {{- with .certKey }}
      - {key: {{ . | quote }}, path: tls.crt}
      - {key: {{ $.Values.foundation.bbs.certificate.keyKey | quote }}, path: tls.key}
      {{- end }}
{{- end }}
{{- end }}
{{- with $program.web.tls }}
{{- if .enabled }}
- name: tls
  secret:
    secretName: {{ .secret | quote }}
    defaultMode: 0440
    items:
      - {key: {{ .certKey | quote }}, path: tls.crt}
      - {key: {{ .keyKey | quote }}, path: tls.key}
      {{- if ne .clientAuthType "NoClientCert" }}
      - {key: {{ .clientCaKey | quote }}, path: client-ca.crt}
      {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "stager-medic.secretMounts" -}}
{{- $ := index . 0 -}}
{{- $program := index . 1 -}}
{{- if $.Values.foundation.bbs.certificate.secret }}
- {name: bbs, mountPath: /etc/stager-medic/bbs, readOnly: true}
{{- end }}
{{- if $program.web.tls.enabled }}
- {name: tls, mountPath: /etc/stager-medic/tls, readOnly: true}
{{- end }}
{{- end }}

{{/* Where pods may run. Called with (list . "exporter"). */}}
{{- define "stager-medic.placement" -}}
{{- $args := . -}}
{{- $ := index . 0 -}}
{{- $program := index $.Values (index . 1) -}}
{{- with $.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $program.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $program.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $program.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $program.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $program.topologySpread.enabled }}
topologySpreadConstraints:
  {{- range $key := $program.topologySpread.keys }}
  - maxSkew: 1
    topologyKey: {{ $key | quote }}
    # One replica on a bad place is better than none.
    whenUnsatisfiable: {{ $program.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "stager-medic.selector" (list $ (index $args 1)) | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Files of the chart: empty would be silent, so it is an error. ---------------------------------------------- */}}
{{- define "stager-medic.file" -}}
{{- $ := index . 0 -}}
{{- $text := $.Files.Get (index . 1) -}}
{{- if not $text }}{{ fail (printf "the chart has no %s: it was not packaged whole" (index . 1)) }}{{ end -}}
{{- $text }}
{{- end }}

{{/* The remediator's files, for its pods and for the preflight of `helm test`. */}}
{{- define "stager-medic.remediatorVolumes" -}}
- name: config
  configMap:
    name: {{ include "stager-medic.remediator" . }}
- name: credentials
  secret:
    secretName: {{ include "stager-medic.credentialsSecret" . | quote }}
    defaultMode: 0440
{{- include "stager-medic.secretVolumes" (list . .Values.remediator) }}
- name: tmp
  emptyDir: {sizeLimit: 16Mi}
{{- end }}

{{- define "stager-medic.remediatorMounts" -}}
- {name: config, mountPath: /etc/stager-medic/config, readOnly: true}
- {name: credentials, mountPath: /etc/stager-medic/credentials, readOnly: true}
{{- include "stager-medic.secretMounts" (list . .Values.remediator) }}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{/* What a schema cannot say, in words. */}}
{{- define "stager-medic.validate" -}}
{{- include "stager-medic.validateOperator" . }}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/part-of" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" }}
{{- range $where, $labels := dict
  "commonLabels" .Values.commonLabels
  "exporter.podLabels" .Values.exporter.podLabels
  "remediator.podLabels" .Values.remediator.podLabels
  "monitoring.labels" .Values.monitoring.labels
  "monitoring.dashboards.labels" .Values.monitoring.dashboards.labels
}}
{{- range $label, $_ := $labels }}
{{- if has $label $own }}{{ fail (printf "%s: %s is the chart's own, by which its objects find each other; choose another label" $where $label) }}{{ end }}
{{- if and (ne $where "commonLabels") (hasKey $.Values.commonLabels $label) }}{{ fail (printf "%s: %s is in commonLabels already" $where $label) }}{{ end }}
{{- end }}
{{- end }}
{{- range $label, $_ := .Values.monitoring.prometheusRule.alertLabels }}
{{- if has $label (list "alertname" "foundation" "namespace" "remediate" "severity") }}{{ fail (printf "monitoring.prometheusRule.alertLabels: %s is the rules' own: it leads alerts to where they belong, and `remediate` asks for a restart" $label) }}{{ end }}
{{- end }}
{{- if regexMatch "^[0-9]" (include "stager-medic.fullname" .) }}
{{- fail (printf "the Services would be called %s-…, and a Service's name begins with a letter: give the release another name, or set fullnameOverride" (include "stager-medic.fullname" .)) }}
{{- end }}
{{- with .Values.foundation.bbs.certificate }}
{{- if and .secret (not (or .caKey .certKey)) }}
{{- fail "foundation.bbs.certificate: caKey and certKey are both empty, so nothing of the Secret would be used; leave `secret` out" }}
{{- end }}
{{- if and .secret .certKey (not .keyKey) }}
{{- fail "foundation.bbs.certificate.keyKey: name the key of the client certificate's private key, as certKey names a certificate" }}
{{- end }}
{{- end }}
{{- with .Values.remediator.credentials }}
{{- if and (not .existingSecret) (has .webhookTokenKey (list "operator.token" "credentials.yml")) }}
{{- fail (printf "remediator.credentials.webhookTokenKey: %s is taken: Alertmanager would have the operator's token, or nobody a credential" .webhookTokenKey) }}
{{- end }}
{{- if and .existingSecret (eq .webhookTokenKey "credentials.yml") }}
{{- fail "remediator.credentials.webhookTokenKey: credentials.yml holds all credentials; name the key with Alertmanager's token" }}
{{- end }}
{{- if and .existingSecret .people }}
{{- fail "remediator.credentials.people: they would be left out, as existingSecret brings a credentials.yml of its own: name them there" }}
{{- end }}
{{- $names := list "alertmanager" "operator" }}
{{- range .people }}
{{- if has .name $names }}{{ fail (printf "remediator.credentials.people: two credentials would be named %s (alertmanager and operator are there already)" .name) }}{{ end }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
{{- range $name := list "exporter" "remediator" }}
{{- $program := index $.Values $name }}
{{- if and $program.enabled $program.exec.enabled }}
{{- if not $program.exec.pods }}
{{- fail (printf "%s.exec.pods: name the pods that it may run commands in, such as [api-0, diego-api-0, diego-api-1]; without names it would be every pod of the namespace" $name) }}
{{- end }}
{{- if ne $program.service.type "ClusterIP" }}
{{- fail (printf "%s.exec.enabled with %s.service.type %s: an account that may run commands in pods is never that of a port open to the outside; choose one" $name $name $program.service.type) }}
{{- end }}
{{- end }}
{{- if and $program.enabled $program.web.tls.enabled (not $program.web.tls.secret) }}
{{- fail (printf "%s.web.tls.secret: name the Secret with the certificate, as %s.web.tls.enabled is true" $name $name) }}
{{- end }}
{{- if and $program.enabled (eq $program.serviceAccount.name "default") }}
{{- fail (printf "%s.serviceAccount.name: not `default`, which is the account of every pod of the namespace that names none: all of them would have these rights" $name) }}
{{- end }}
{{- if and $program.enabled (not $program.serviceAccount.create) (not $program.serviceAccount.name) }}
{{- fail (printf "%s.serviceAccount.name: name the account, as %s.serviceAccount.create is false" $name $name) }}
{{- end }}
{{- end }}
{{- with .Values.exporter }}
{{- if and .enabled .exec.enabled $.Values.logs.syslog.enabled (ne $.Values.logs.syslog.service.type "ClusterIP") }}
{{- fail (printf "exporter.exec.enabled with logs.syslog.service.type %s: an account that may run commands in pods is never that of a port open to the outside; choose one" $.Values.logs.syslog.service.type) }}
{{- end }}
{{- if and .enabled $.Values.logs.exec.enabled (not .exec.enabled) }}
{{- fail "logs.exec.enabled needs exporter.exec.enabled, and exporter.exec.pods" }}
{{- end }}
{{- end }}
{{- if and .Values.exporter.enabled .Values.remediator.enabled }}
{{- if eq (include "stager-medic.serviceAccount" (list . "exporter")) (include "stager-medic.serviceAccount" (list . "remediator")) }}
{{- fail "exporter.serviceAccount.name and remediator.serviceAccount.name are the same: the exporter would have the remediator's rights" }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Without the operator's definitions the API server would only say "no matches for kind". Where Helm does not look into a
cluster (helm template) it knows no kinds at all, and nothing is said.
*/}}
{{- define "stager-medic.validateOperator" -}}
{{- $known := .Capabilities.APIVersions }}
{{- if $known.Has "v1/Pod" }}
{{- $monitoring := .Values.monitoring }}
{{- $wanted := dict }}
{{- if $monitoring.serviceMonitor.enabled }}{{ $_ := set $wanted "serviceMonitor.enabled" "v1/ServiceMonitor" }}{{ end }}
{{- if $monitoring.prometheusRule.enabled }}{{ $_ := set $wanted "prometheusRule.enabled" "v1/PrometheusRule" }}{{ end }}
{{- if and $monitoring.alertmanagerConfig.enabled .Values.remediator.enabled }}
{{- $_ := set $wanted "alertmanagerConfig.enabled" (printf "%s/AlertmanagerConfig" $monitoring.alertmanagerConfig.apiVersion) }}
{{- end }}
{{- range $switch, $kind := $wanted }}
{{- if not ($known.Has (printf "monitoring.coreos.com/%s" $kind)) }}
{{- fail (printf "this cluster has no monitoring.coreos.com/%s, which the Prometheus operator brings: install that first, or add `-f presets/plain-prometheus.yaml` (monitoring.%s: false)" $kind $switch) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Who asks, and where ---------------------------------------------------------------------------------------- */}}

{{/* For Prometheus and Alertmanager: how to check this server. Called with (list . "remediator"). */}}
{{- define "stager-medic.clientTls" -}}
{{- $ := index . 0 -}}
{{- $tls := (index $.Values (index . 1)).web.tls -}}
serverName: {{ include (printf "stager-medic.%s" (index . 1)) $ }}.{{ $.Release.Namespace }}.svc
{{- with $tls.caKey }}
ca:
  secret:
    name: {{ $tls.secret | quote }}
    key: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "stager-medic.webhookUrl" -}}
{{ ternary "https" "http" .Values.remediator.web.tls.enabled }}://{{ include "stager-medic.remediator" . }}.{{ .Release.Namespace }}.svc:{{ .Values.remediator.service.port }}/api/v1/alertmanager
{{- end }}

{{/* The foundation's pods, as a NetworkPolicy names them. */}}
{{- define "stager-medic.foundationPeers" -}}
{{- if .Values.networkPolicy.foundation }}
{{- toYaml .Values.networkPolicy.foundation }}
{{- else if eq (include "stager-medic.namespace" .) .Release.Namespace -}}
- podSelector: {}
{{- else -}}
# Namespaces carry this label from Kubernetes 1.21 on; before that, set networkPolicy.foundation.
- namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ include "stager-medic.namespace" . | quote }}}}
{{- end }}
{{- end }}

{{/* Whom both programs ask. Called after addresses of Services were translated: what counts is the pod behind them. */}}
{{- define "stager-medic.egress" -}}
{{- with .Values.networkPolicy.dns -}}
# DNS
- {{ with .to }}to:
    {{- toYaml . | nindent 4 }}
  {{ end }}ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- with .Values.networkPolicy.apiServer }}
# The API server
- {{ with .to }}to:
    {{- toYaml . | nindent 4 }}
  {{ end }}ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
# BBS and Locket
- to:
    {{- include "stager-medic.foundationPeers" . | nindent 4 }}
  ports:
    {{- range include "stager-medic.bbsPorts" . | fromJsonArray }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
    - {port: {{ include "stager-medic.locketPort" . }}, protocol: TCP}
{{- with include "stager-medic.databasePort" . }}
# The database
- {{ with $.Values.networkPolicy.database.to }}to:
    {{- toYaml . | nindent 4 }}
  {{ end }}ports:
    - {port: {{ . }}, protocol: TCP}
{{- end }}
{{- end }}
