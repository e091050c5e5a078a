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
