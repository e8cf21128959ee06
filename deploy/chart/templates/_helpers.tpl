{{/* Names and labels. A component's template calls these with (dict "root" $ "component" "devices"). */}}

{{- define "outrigger.name" -}}
{{- $base := ternary .root.Release.Name (printf "%s-outrigger" .root.Release.Name) (contains "outrigger" .root.Release.Name) -}}
{{- printf "%s-%s" ($base | trunc 40 | trimSuffix "-") .component -}}
{{- end -}}

{{/* What a selector may hold: these never change for a release. */}}
{{- define "outrigger.selector" -}}
app.kubernetes.io/name: outrigger
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Refuses labels by which the chart knows its own objects. Called with (list "where they stand" labels). */}}
{{- define "outrigger.labels.check" -}}
{{- $where := first . -}}
{{- range $name, $_ := last . -}}
{{- if regexMatch "^(app[.]kubernetes[.]io/(name|instance|component|version|managed-by)|helm[.]sh/chart)$" $name -}}
{{- fail (printf "%s has %s: the chart knows its own objects by it" $where $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* With `labels` beside root and component these are added. */}}
{{- define "outrigger.metadata" -}}
name: {{ include "outrigger.name" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "outrigger.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
  {{- with merge (dict) (.labels | default dict) .root.Values.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "outrigger.image" -}}
{{- $named := printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
image: {{ ternary (printf "%s@%s" .Values.image.repository .Values.image.digest) $named (ne .Values.image.digest "") | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}
