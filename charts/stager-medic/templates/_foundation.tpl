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
