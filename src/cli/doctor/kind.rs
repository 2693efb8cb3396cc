//! Every kind of finding: its code, how bad it is, why, and what to do.

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// It does not work, or protects nothing.
    Error,
    /// It works, and may not do what is meant.
    Warning,
}

impl Level {
    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident, $level:ident, $code:literal, $why:literal, $correction:literal;)+) => {
        /// A kind of finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Kind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Kind {
            /// All of them, in the order of the guide.
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its code, which does not change.
            pub(super) const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// How bad it is.
            pub(super) const fn level(self) -> Level {
                match self { $(Self::$name => Level::$level,)+ }
            }

            /// What comes of it.
            pub(super) const fn why(self) -> &'static str {
                match self { $(Self::$name => $why,)+ }
            }

            /// What to do.
            pub(super) const fn correction(self) -> &'static str {
                match self { $(Self::$name => $correction,)+ }
            }
        }
    };
}

kinds! {
    /// Policies name providers, and there is no mesh config to look them up in.
    MeshConfigMissing, Warning, "mesh-config-missing",
    "whether the providers of the policies exist cannot be seen",
    "give the file with the mesh config: `--mesh FILE`";
    /// A policy names a provider that the mesh config does not have.
    ProviderUnknown, Error, "provider-unknown",
    "istiod takes the policy and denies every request that it matches, with 403; no status says so",
    "add it to `extensionProviders` of the mesh config, or correct the name";
    /// A provider's name is none that istiod 1.30 takes.
    ProviderName, Error, "provider-name",
    "istiod 1.30 and later refuses the provider and denies the requests that its policies match",
    "use lower-case letters, digits and hyphens, 63 at most, and begin and end with a letter or digit";
    /// Two providers have one name.
    ProviderTwice, Error, "provider-twice",
    "istiod refuses both, and denies the requests that their policies match",
    "give each its own name; lists of several files of values are replaced, not merged";
    /// Two providers of one workload, of which one's name begins with the other's.
    ProviderPrefix, Warning, "provider-prefix",
    "Istio finds the filter of a policy by the beginning of the provider's name, so that one request may be checked by both",
    "choose names of which none begins another";
    /// A provider names no service that there is.
    ProviderService, Error, "provider-service",
    "istiod does not find the service and denies the requests that the provider's policies match",
    "name it in full, such as portcullis.portcullis.svc.cluster.local, and apply the Service or ServiceEntry; an address or localhost needs a ServiceEntry with resolution STATIC";
    /// The provider's Service is not among the files.
    ProviderServiceUnseen, Warning, "provider-service-unseen",
    "whether the provider's service and port exist cannot be seen",
    "give the file with its Service too";
    /// A provider names a port that its service does not have.
    ProviderPort, Error, "provider-port",
    "istiod does not check it: Envoy has no such cluster, so that each check fails",
    "name a port of the Service";
    /// A provider's port is not declared as gRPC.
    ProviderProtocol, Error, "provider-protocol",
    "Envoy speaks HTTP/1.1 to it, and each check fails",
    "name the port `grpc-check`, or set `appProtocol: grpc`";
    /// A provider of the HTTP kind asks us.
    ProviderHttp, Error, "provider-http",
    "Portcullis answers gRPC alone, so that each check fails",
    "use `envoyExtAuthzGrpc`";
    /// A provider has no timeout.
    TimeoutMissing, Error, "timeout-missing",
    "Istio's own is 600 seconds: where Portcullis hangs, every request does",
    "set `timeout: 1s`";
    /// A provider's timeout is very long.
    TimeoutLong, Warning, "timeout-long",
    "where Portcullis hangs, every request hangs as long",
    "set `timeout: 1s`";
    /// A provider's timeout is not longer than our deadline.
    TimeoutShort, Error, "timeout-short",
    "Envoy gives up before Portcullis answers, and the client sees 403 or `statusOnError` in place of the reason",
    "make `timeout` longer than `checks.deadline` (400ms where it is left out)";
    /// A provider lets requests pass where it cannot be asked.
    FailOpen, Error, "fail-open",
    "whoever brings Portcullis down, or makes one check fail, is let in",
    "leave it out, or set it to false; Portcullis' shadow mode lets pass what would be denied";
    /// A provider does not say what status a failure has.
    StatusMissing, Warning, "status-on-error-missing",
    "a failure is answered 403, which nobody can tell from a denial",
    "set `statusOnError: \"503\"`";
    /// A provider names a status that Envoy does not know.
    StatusUnknown, Error, "status-on-error-unknown",
    "istiod refuses the provider and denies the requests that its policies match",
    "set `statusOnError: \"503\"`, in quotes";
    /// A CUSTOM policy without a provider.
    PolicyWithoutProvider, Error, "policy-without-provider",
    "Istio refuses the policy, and nothing is checked",
    "name the provider in `spec.provider.name`";
    /// A CUSTOM policy without rules.
    PolicyWithoutRules, Error, "policy-without-rules",
    "a CUSTOM policy without rules matches nothing: no request is checked",
    "write `rules: [{}]`, which matches every request";
    /// Several providers for one workload.
    ProvidersSeveral, Error, "providers-several",
    "Istio does not take several providers on one workload: it denies every request that their policies match, where istiod 1.30 is not told otherwise",
    "use one provider for a workload; Portcullis tells Apis apart itself";
    /// A CUSTOM policy that is to be tried out.
    DryRun, Error, "dry-run",
    "CUSTOM has no dry run: up to Istio 1.29 nothing is checked, from 1.30 on every matching request is denied",
    "remove the annotation; `enforcement: shadow` of an Api is the dry run";
    /// A rule names paths.
    RulesByPath, Warning, "rules-by-path",
    "requests to all other paths are never checked",
    "match every request (`rules: [{}]`), and let Apis say what is open";
    /// A rule that matches some requests by something else.
    RulesInPart, Warning, "rules-in-part",
    "all requests that the rule does not match are never checked: other methods, ports and addresses, and every path that a `*` or `{*}` of `notPaths` takes in",
    "match every request (`rules: [{}]`), and let Apis say what is open";
    /// A rule by path that another spelling of the path gets around.
    PathBypass, Error, "path-bypass",
    "Istio compares the path as it was normalized, by default without merging slashes or decoding: `//admin` and `/open%2f..%2fadmin` go around the rule",
    "set `pathNormalization.normalization: DECODE_AND_MERGE_SLASHES` in the mesh config, or do not match paths";
    /// A rule by something that the client chooses.
    RulesByHeader, Warning, "rules-by-header",
    "the client chooses its headers, and so whether it is checked",
    "match every request (`rules: [{}]`)";
    /// A rule by host without port.
    HostWithoutPort, Warning, "host-without-port",
    "a request whose host has a port, `api.example:80`, does not match and is not checked",
    "add the host with any port: `hosts: [api.example, \"api.example:*\"]`";
    /// A rule of a CUSTOM policy by who asks.
    SourceInCustom, Error, "source-in-custom",
    "Istio refuses CUSTOM policies that match identities, and nothing is checked",
    "say who may call in the Api: `from`";
    /// A condition that CUSTOM policies may not have.
    WhenInCustom, Error, "when-in-custom",
    "Istio refuses the condition in CUSTOM policies: tokens are verified after them",
    "let an authenticator of type `jwt` verify the token, and the Api say what is needed";
    /// A policy that matches our own workload.
    OwnWorkload, Error, "own-workload",
    "a check is a request too: it would be checked, and that check again",
    "select the workloads that are to be protected, such as the gateway, with `selector` or `targetRefs`";
    /// A policy with a selector where ztunnel would enforce it.
    AmbientWithoutWaypoint, Error, "ambient-without-waypoint",
    "ztunnel does not support CUSTOM and ignores the policy: nothing is checked",
    "attach the policy to a waypoint or its Service with `targetRefs`";
    /// A RequestAuthentication that sees what we left of `authorization`.
    RequestAuthentication, Error, "request-authentication",
    "it runs after Portcullis, which removes or replaces `authorization`: another token there is answered 401, and none gives no principal",
    "remove the RequestAuthentication, read another header (`fromHeaders`), or keep the client's token in the Api (`upstream.keepCredential: true`)";
    /// A selector that no pod of its namespace has.
    SelectorWithoutPods, Error, "selector-without-pods",
    "it selects nothing, so that it does nothing; no status says so",
    "use the labels of the pod template";
    /// A target that is not there.
    TargetMissing, Error, "target-missing",
    "the policy is attached to nothing, so that nothing is checked",
    "name a Gateway or Service of the policy's own namespace";
    /// A gateway's selector that nothing has.
    GatewayWithoutPods, Warning, "gateway-without-pods",
    "the Gateway has no proxy, and its hosts are served by nobody",
    "use the labels of the gateway's pods, by default `istio: ingressgateway`";
    /// An EnvoyFilter whose retries cut checks short.
    RetryCutsChecks, Error, "retry-cuts-checks",
    "Envoy takes `max_interval` (or ten times `base_interval`) for the time that one try may take: checks that take longer fail",
    "set `max_interval` to `checks.deadline` or more (0.4s)";
    /// A listener of ours that anybody may ask.
    ListenerOpen, Error, "listener-open",
    "whoever reaches the port can ask about any request, and is given the tokens of providers",
    "say who may ask: `tls` and `peers.allow`, or `peers.any` with the reason why that is safe";
    /// Something of Mixer.
    Obsolete, Error, "obsolete",
    "Istio removed it: nothing reads it, and what it was to protect is open",
    "`portcullis import wso2` makes an Api and a policy of HTTPAPISpec, handler and rule; write other ones as AuthorizationPolicy or RequestAuthentication";
}
