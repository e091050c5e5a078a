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
