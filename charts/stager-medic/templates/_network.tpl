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
