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
