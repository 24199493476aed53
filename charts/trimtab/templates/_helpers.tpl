{{- define "trimtab.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "trimtab.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "trimtab.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "trimtab.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "trimtab.selector" -}}
app.kubernetes.io/name: {{ include "trimtab.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "trimtab.labels" -}}
{{ include "trimtab.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: trimtab
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "trimtab.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "trimtab.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "trimtab.image" -}}
{{- $ref := .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $ref .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $ref (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* Ports that the operator connects to: those named, and the one in Prometheus' URL. */ -}}
{{- define "trimtab.egressPorts" -}}
{{- $ports := list -}}
{{- range .Values.networkPolicy.egressPorts }}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- with .Values.prometheus.url }}
{{- $url := urlParse . -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) -}}
{{- $ports = append $ports (int (default (ternary "443" "80" (eq $url.scheme "https")) $port)) -}}
{{- end -}}
{{- if ne .Values.metricsSource "prometheus" }}{{- $ports = append $ports 8000 -}}{{- end -}}
{{- range uniq $ports }}
- {port: {{ . }}}
{{- end -}}
{{- end -}}

{{- /* What is needed of namespaced objects, everywhere or in each watched namespace. */ -}}
{{- define "trimtab.namespacedRules" -}}
# Our own resources. The spec of a user's object is never written.
- apiGroups: [trimtab.dev]
  resources: [llmdeployments, servingpolicies]
  verbs: [list, watch]
- apiGroups: [trimtab.dev]
  resources: [llmdeployments/status]
  verbs: [patch]
# Children block the deletion of their owner; where OwnerReferencesPermissionEnforcement is on,
# as on OpenShift, whoever sets that must be able to update the owner's finalizers.
- apiGroups: [trimtab.dev]
  resources: [llmdeployments/finalizers]
  verbs: [update]
# Children. `get` makes sure that an object of the same name is ours before it is touched.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
{{- end -}}

{{- /* What is needed of the cluster's own objects, in both modes. */ -}}
{{- define "trimtab.clusterRules" -}}
- apiGroups: [trimtab.dev]
  resources: [performanceprofiles, fleetbudgets]
  verbs: [list, watch]
# Pools that the nodes tell of. A server-side apply that creates needs both verbs.
- apiGroups: [trimtab.dev]
  resources: [acceleratorpools]
  verbs: [list, watch, create, patch]
- apiGroups: [trimtab.dev]
  resources: [acceleratorpools/status, fleetbudgets/status]
  verbs: [patch]
# What is there: replicas, devices that others hold, and the labels that budgets select by.
- apiGroups: [""]
  resources: [pods, nodes, namespaces]
  verbs: [list, watch]
{{- end -}}
