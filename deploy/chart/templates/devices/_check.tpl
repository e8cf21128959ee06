{{/* Values that no schema can refuse, since they are wrong only together. */}}
{{- define "outrigger.devices.check" -}}
{{- $devices := .Values.devices -}}
{{- include "outrigger.labels.check" (list "labels" .Values.labels) -}}
{{- include "outrigger.labels.check" (list "devices.podLabels" $devices.podLabels) -}}
{{- include "outrigger.labels.check" (list "devices.podMonitor.labels" $devices.podMonitor.labels) -}}
{{- $ours := dict "config" "config or existingConfigMap" "kubelet-directory" "kubeletDirectory" "plugin-directory" "kubeletDirectory" "admin" "admin" -}}
{{- range $index, $argument := $devices.args -}}
{{- $flag := $argument | trimPrefix "--" | splitList "=" | first -}}
{{- if hasKey $ours $flag -}}
{{- fail (printf "devices.args[%d] is --%s: set devices.%s instead" $index $flag (get $ours $flag)) -}}
{{- end -}}
{{- end -}}
{{- if and $devices.existingConfigMap $devices.config.devices -}}
{{- fail "devices.config.devices and devices.existingConfigMap are both set: the configuration can only be one of them" -}}
{{- end -}}
{{- $seen := dict -}}
{{- range $index, $device := $devices.config.devices -}}
{{- if not (or $device.name $device.resource) -}}
{{- fail (printf "devices.config.devices[%d]: a resource needs `name` (below `domain`) or `resource`" $index) -}}
{{- end -}}
{{- if and $device.name (not $devices.config.domain) -}}
{{- fail (printf "devices.config.devices[%d].name is %s: set devices.config.domain, such as example.com, or give `resource` whole" $index $device.name) -}}
{{- end -}}
{{- $resource := $device.resource | default (printf "%s/%s" $devices.config.domain $device.name) -}}
{{- if hasKey $seen $resource -}}
{{- fail (printf "devices.config.devices[%d] is %s as devices.config.devices[%v] is: put their `groups` together" $index $resource (get $seen $resource)) -}}
{{- end -}}
{{- $_ := set $seen $resource $index -}}
{{- end -}}
{{- end -}}
