{{/* The name of every object. */}}
{{- define "portcullis.name" -}}
{{- default "portcullis" .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "portcullis.serviceAccount" -}}
{{- default (include "portcullis.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* By what pods are selected: never changed. */}}
{{- define "portcullis.selector" -}}
app.kubernetes.io/name: portcullis
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "portcullis.labels" -}}
{{ include "portcullis.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "portcullis.host" -}}
{{ include "portcullis.name" . }}.{{ .Release.Namespace }}.svc.cluster.local
{{- end -}}

{{- define "portcullis.spiffeId" -}}
spiffe://{{ .Values.trustDomain }}/ns/{{ .Release.Namespace }}/sa/{{ include "portcullis.serviceAccount" . }}
{{- end -}}

{{/* Who can open a connection: what is said, else the namespaces of the proxies that may ask. */}}
{{- define "portcullis.admitted" -}}
{{- include "portcullis.refuse" . -}}
{{- $v := .Values -}}
{{- if $v.networkPolicy.from -}}
{{- toYaml $v.networkPolicy.from -}}
{{- else if eq $v.mode "plain" -}}
{{- fail "networkPolicy.from: in mode plain, say who can connect to the check ports" -}}
{{- else -}}
{{- $who := concat (list) (default list $v.mesh.peers) -}}
{{- $outbound := default list $v.mesh.outboundPeers -}}
{{- if eq $v.mode "spiffe" -}}
{{- $who = concat (list) (default list $v.check.peers.allow) -}}
{{- $outbound = default list $v.outbound.peers.allow -}}
{{- end -}}
{{- if $v.outbound.enabled }}{{ $who = concat $who $outbound }}{{ end -}}
{{- $namespaces := list -}}
{{- range $who -}}
{{- $id := . -}}
{{- if kindIs "map" . }}{{ $id = default "" .id }}{{ end -}}
{{- $namespace := regexFind "/ns/[a-z0-9-]+/sa/" $id | trimPrefix "/ns/" | trimSuffix "/sa/" -}}
{{- if not $namespace -}}
{{- fail (printf "networkPolicy.from: say who can connect, as `%s` names no namespace" (toString $id)) -}}
{{- end -}}
{{- $namespaces = append $namespaces $namespace -}}
{{- end -}}
{{- if not $namespaces -}}
{{- fail "networkPolicy.from: say who can connect, as no proxy is named" -}}
{{- end -}}
{{- range $namespaces | uniq }}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ . }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What would not work, or would let somebody in, is refused here. */}}
{{- define "portcullis.refuse" -}}
{{- $v := .Values -}}
{{- if and (not $v.catalog.documents) (not $v.catalog.existingConfigMap) -}}
{{- fail "catalog.documents or catalog.existingConfigMap is needed: without an Api every request is denied" -}}
{{- end -}}
{{- if and $v.catalog.documents $v.catalog.existingConfigMap -}}
{{- fail "catalog.documents and catalog.existingConfigMap: give one of them" -}}
{{- end -}}
{{- if and $v.store.enabled (or $v.autoscaling.enabled (gt (int $v.replicas) 1)) -}}
{{- fail "store.enabled: the SQLite store belongs to one process; set replicas: 1 and autoscaling.enabled: false" -}}
{{- end -}}
{{- if le (int $v.terminationGracePeriodSeconds) (add $v.drain.delaySeconds $v.drain.graceSeconds | int) -}}
{{- fail "terminationGracePeriodSeconds must be above drain.delaySeconds and drain.graceSeconds together, or checks are cut off" -}}
{{- end -}}
{{- if and $v.tls.existingSecret (ne $v.mode "plain") -}}
{{- fail "tls.existingSecret is for mode plain; the other modes have the mesh's certificates" -}}
{{- end -}}
{{- if and (eq $v.mode "ambient") (not $v.mesh.enabled) (not $v.check.peers.any) -}}
{{- fail "mode ambient: mesh.enabled makes the AuthorizationPolicy that says who may ask; without it, say in check.peers.any why whoever can connect may" -}}
{{- end -}}
{{- if and $v.mesh.enabled (has $v.mode (list "sidecar" "ambient")) (not $v.mesh.peers) -}}
{{- fail "mesh.peers: name the proxies that may connect to the check port" -}}
{{- end -}}
{{- if and $v.mesh.enabled $v.outbound.enabled (has $v.mode (list "sidecar" "ambient")) (not $v.mesh.outboundPeers) -}}
{{- fail "mesh.outboundPeers: name the proxies that may connect to the outbound port" -}}
{{- end -}}
{{- include "portcullis.refusePeers" (list . "check" $v.check.peers) -}}
{{- if $v.outbound.enabled -}}
{{- include "portcullis.refusePeers" (list . "outbound" $v.outbound.peers) -}}
{{- end -}}
{{- if and $v.redis.enabled (not $v.redis.url) (not $v.redis.urlSecret.name) -}}
{{- fail "redis.enabled: redis.url or redis.urlSecret.name is needed" -}}
{{- end -}}
{{- range list "catalog" "spiffe" "store" -}}
{{- if and (hasKey $v.config .) (not (and (eq . "spiffe") (eq $v.mode "plain"))) -}}
{{- fail (printf "config.%s: the chart writes this section; use its own values" .) -}}
{{- end -}}
{{- end -}}
{{- if and $v.redis.enabled (dig "quota" "store" "" $v.config) -}}
{{- fail "config.quota.store stands beside redis.enabled; give one of them" -}}
{{- end -}}
{{- range list "inbound" "outbound" "observe" -}}
{{- if hasKey (default dict $v.config.listeners) . -}}
{{- fail (printf "config.listeners.%s: the chart writes this listener; use check, outbound and mode" .) -}}
{{- end -}}
{{- end -}}
{{- range $v.mesh.policies -}}
{{- if and .selector (eq (get .selector "app.kubernetes.io/name") "portcullis") -}}
{{- fail "mesh.policies: a policy that selects Portcullis itself would have it ask itself" -}}
{{- end -}}
{{- if and (not .selector) (not .targetRefs) -}}
{{- fail (printf "mesh.policies %s: without selector or targetRefs it would select every workload of the namespace; name them" .name) -}}
{{- end -}}
{{- range .notPaths -}}
{{- if contains "*" . -}}
{{- fail (printf "mesh.policies: notPaths %q: exceptions are exact paths; a wildcard lets pass whatever can be made to look like it" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (list context name peers) */}}
{{- define "portcullis.refusePeers" -}}
{{- $v := (index . 0).Values -}}
{{- $name := index . 1 -}}
{{- $peers := index . 2 -}}
{{- if eq $v.mode "plain" -}}
  {{- if and (not $v.tls.existingSecret) (not $peers.any) -}}
    {{- fail (printf "mode plain without tls.existingSecret: whoever can connect may ask, and is given provider tokens; say in %s.peers.any why that is safe" $name) -}}
  {{- end -}}
{{- end -}}
{{- if and (ne $v.mode "ambient") (not $peers.any) (not $peers.allow) -}}
  {{- fail (printf "%s.peers.allow: name the proxies that may ask" $name) -}}
{{- end -}}
{{- end -}}

{{/* (list context values port name): one check listener. */}}
{{- define "portcullis.listener" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
{{- $port := index . 2 -}}
{{- $mode := $root.Values.mode -}}
{{- $listener := dict "type" "check" -}}
{{- $_ := set $listener "address" (printf "%s:%d" (ternary "127.0.0.1" "0.0.0.0" (eq $mode "sidecar")) $port) -}}
{{- $peers := dict -}}
{{- if eq $mode "ambient" -}}
  {{- $_ := set $peers "any" (default "ambient: an AuthorizationPolicy admits the proxies that are named, by mTLS" $own.peers.any) -}}
{{- else if $own.peers.any -}}
  {{- $_ := set $peers "any" $own.peers.any -}}
{{- else -}}
  {{- $_ := set $peers "allow" $own.peers.allow -}}
{{- end -}}
{{- if $own.peers.requestXfcc -}}
  {{- $_ := set $peers "requestXfcc" true -}}
{{- end -}}
{{- $_ := set $listener "peers" $peers -}}
{{- if eq $mode "sidecar" -}}
  {{- $_ := set $listener "trustXfcc" true -}}
{{- else if eq $mode "spiffe" -}}
  {{- $_ := set $listener "tls" (dict "spiffe" dict) -}}
{{- else if $root.Values.tls.existingSecret -}}
  {{- $folder := "/etc/portcullis-tls" -}}
  {{- $_ := set $listener "tls" (dict "certificate" (dict "file" (printf "%s/tls.crt" $folder)) "key" (dict "file" (printf "%s/tls.key" $folder)) "clientCa" (dict "file" (printf "%s/ca.crt" $folder))) -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $listener $own.extra) -}}
{{- end -}}

{{/* The operator's file. */}}
{{- define "portcullis.configuration" -}}
{{- $v := .Values -}}
{{- $usual := dict "listeners" (dict "admin" (dict "type" "admin" "address" "127.0.0.1:9002")) -}}
{{- $listeners := dict "observe" (dict "type" "observe" "address" "0.0.0.0:9090") -}}
{{- $_ := set $listeners "inbound" (include "portcullis.listener" (list . $v.check 9001) | fromYaml) -}}
{{- if $v.outbound.enabled -}}
  {{- $outbound := include "portcullis.listener" (list . $v.outbound 9003) | fromYaml -}}
  {{- $_ := set $listeners "outbound" (mustMergeOverwrite $outbound (dict "direction" "outbound" "unmatched" $v.outbound.unmatched)) -}}
{{- end -}}
{{- $drain := dict "drainDelay" (printf "%ds" (int $v.drain.delaySeconds)) "drainGrace" (printf "%ds" (int $v.drain.graceSeconds)) -}}
{{- $source := list (dict "name" "main" "type" "file" "path" "/etc/portcullis-catalog") -}}
{{- $own := dict "listeners" $listeners "checks" $drain "catalog" (dict "sources" $source) -}}
{{- if ne $v.mode "plain" -}}
  {{- $spiffe := dict "trustDomain" $v.trustDomain -}}
  {{- with $v.trustDomainAliases }}{{ $_ := set $spiffe "trustDomainAliases" . }}{{ end -}}
  {{- with $v.trustedProxies }}{{ $_ := set $spiffe "trustedProxies" . }}{{ end -}}
  {{- if eq $v.mode "spiffe" }}{{ $_ := set $spiffe "endpoint" "unix:///spiffe-workload-api/socket" }}{{ end -}}
  {{- $_ := set $own "spiffe" $spiffe -}}
{{- end -}}
{{- if $v.redis.enabled -}}
  {{- /* an environment variable overrides the address where a Secret holds it */ -}}
  {{- $store := dict "type" "redis" "url" (default "rediss://of-the-environment:6379/0" $v.redis.url) -}}
  {{- with $v.redis.username }}{{ $_ := set $store "username" . }}{{ end -}}
  {{- if $v.redis.passwordSecret.name }}{{ $_ := set $store "password" (dict "env" "REDIS_PASSWORD") }}{{ end -}}
  {{- if $v.redis.caSecret.name }}{{ $_ := set $store "ca" (dict "file" (printf "/etc/portcullis-redis/%s" $v.redis.caSecret.key)) }}{{ end -}}
  {{- $quota := dict "store" $store "mode" $v.redis.mode "onStoreFailure" $v.redis.onStoreFailure -}}
  {{- if eq $v.redis.onStoreFailure "local" -}}
    {{- $_ := set $quota "replicas" (int (ternary $v.autoscaling.maxReplicas $v.replicas $v.autoscaling.enabled)) -}}
  {{- end -}}
  {{- $_ := set $own "quota" $quota -}}
{{- end -}}
{{- if $v.store.enabled -}}
  {{- $store := dict "path" "/var/lib/portcullis/state.db" -}}
  {{- with $v.store.encryptionKeySecret.name }}{{ $_ := set $store "encryptionKey" (dict "env" "STORE_KEY") }}{{ end -}}
  {{- $_ := set $own "store" $store -}}
  {{- /* what FIWARE's management API writes */ -}}
  {{- if dig "listeners" "admin" "fiware" "" $v.config -}}
    {{- $_ := set $own "catalog" (dict "sources" (append $source (dict "name" "store" "type" "store"))) -}}
  {{- end -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $usual (deepCopy $v.config) $own) -}}
{{- end -}}
