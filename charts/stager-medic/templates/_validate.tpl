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
