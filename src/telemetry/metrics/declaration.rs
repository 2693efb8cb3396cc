//! The declarations of the metrics: name, kind, labels and meaning of each.

use std::fmt::Write as _;

use prometheus_client::registry::{Metric, Registry};

/// What a metric is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Declaration {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

macro_rules! declarations {
    ($($id:ident = $kind:literal $name:literal $labels:expr, $help:literal;)*) => {
        $(pub(super) const $id: Declaration = Declaration {
            name: $name, kind: $kind, labels: &$labels, help: $help,
        };)*

        /// Every metric.
        pub(super) const ALL: &[Declaration] = &[$($id),*];
    };
}

declarations! {
    CHECKS = "counter" "portcullis_checks_total" ["api", "decision", "reason"],
        "Checks by how they ended: `decision` is `allow`, `deny` or `fail`; `api` is empty where none was found";
    CHECK_DURATION = "histogram" "portcullis_check_duration_seconds" ["decision"],
        "Time from receiving a check to its answer";
    CHECKS_IN_FLIGHT = "gauge" "portcullis_checks_in_flight" [],
        "Checks that wait: for the rest of their message, a key set, an issuer, a provider or Redis";
    CONNECTIONS = "gauge" "portcullis_connections" ["listener"],
        "Open connections";
    CONNECTIONS_REFUSED = "counter" "portcullis_connections_refused_total" ["listener", "reason"],
        "Connections that were not served: `max_connections`, `handshake_timeout` or `accept_failed`";
    TLS_HANDSHAKES = "counter" "portcullis_tls_handshakes_total" ["listener", "outcome"],
        "TLS handshakes by how they ended: `completed`, `no_certificate` (we have none that holds), `client_certificate_missing`, `client_certificate_refused`, `failed`, or `unfinished` (out of time, or the client went away)";
    PEERS_REFUSED = "counter" "portcullis_peers_refused_total" ["listener", "reason"],
        "Checks that were refused because of who asked: `unidentified`, `not_listed`, `destination` (asked for another workload), `api` or `provider` (not for that peer)";
    CATALOG_AGE = "gauge" "portcullis_catalog_age_seconds" ["source"],
        "Time since what the source holds was last found good";
    CATALOG_RELOADS = "counter" "portcullis_catalog_reloads_total" ["source", "result"],
        "Looks at the source by how they ended: `published`, `unchanged`, or `refused`, once for each new set of problems";
    CATALOG_REFUSED = "gauge" "portcullis_catalog_refused" ["source"],
        "1 while what the source holds is refused and older documents are in force, else 0";
    CATALOG_INFO = "gauge" "portcullis_catalog_info" ["revision"],
        "The current revision of the catalog, as a label; always 1";
    KEY_SET_AGE = "gauge" "portcullis_key_set_age_seconds" ["issuer"],
        "Time since the keys were last fetched with success; `issuer` is the name of the key set: `keys of` and the issuer, or the URL of the set, as in `GET /v1/key-sets`";
    KEY_SET_KEYS = "gauge" "portcullis_key_set_keys" ["issuer"],
        "Usable keys; `issuer` as above";
    VERIFIED_TOKENS = "gauge" "portcullis_verified_tokens" [],
        "Tokens that are remembered, so that their signature is not verified again";
    VERIFIED_TOKENS_BYTES = "gauge" "portcullis_verified_tokens_bytes" [],
        "What they take, about; `checks.verifiedTokens` is the most";
    REVOCATIONS = "gauge" "portcullis_revocations" ["kind"],
        "Entries of what is revoked: `token`, `jti`, `subject`, `client`, `session`, `issuer` or `application`";
    REVOCATIONS_REFUSED = "counter" "portcullis_revocations_refused_total" [],
        "Entries that were refused because there are `revocation.maxEntries` already: what they are about is not revoked";
    REVOCATION_AGE = "gauge" "portcullis_revocation_age_seconds" ["source"],
        "Time since what is revoked was last known to be what the source holds; `source` is the path of a file, or `redis`";
    PROVIDER_TOKENS = "counter" "portcullis_provider_tokens_total" ["provider", "outcome"],
        "Needs of checks for a provider's token by how they were met: `hit`, `refreshed` (the first use of a token that was renewed ahead of its end), `waited`, `stale`, `absent` (the provider has nothing), `failed`";
    PROVIDER_FETCHES = "counter" "portcullis_provider_fetches_total" ["provider", "result"],
        "Requests for a token by how they ended: `given`, `absent`, `unavailable`, `refused`, `unusable`, `not_asked`";
    PROVIDER_ERRORS = "counter" "portcullis_provider_oauth_errors_total" ["provider", "error"],
        "Errors that token endpoints answered with, by their code: `invalid_request`, `invalid_client` (we are not registered there, or the clocks differ), `invalid_grant`, `unauthorized_client`, `unsupported_grant_type`, `invalid_scope`, `invalid_target`, `access_denied`, `server_error`, `temporarily_unavailable`, or `other`";
    PROVIDER_PAUSED = "gauge" "portcullis_provider_paused" ["provider"],
        "1 while the provider is not asked, after failures in a row or as it asked for, else 0";
    PROVIDER_CACHE_TOKENS = "gauge" "portcullis_provider_cache_tokens" [],
        "Provider tokens that are kept";
    PROVIDER_CACHE_BYTES = "gauge" "portcullis_provider_cache_bytes" [],
        "What they take, about; `checks.providerTokens` is the most";
    QUOTA_EXCEEDED = "counter" "portcullis_quota_exceeded_total" ["plan", "limit", "enforced"],
        "Requests over a limit, by the limit and its plan (empty: a limit of an Api or operation); `enforced` is `false` where the plan only reports, and the request passed";
    QUOTA_COUNTERS = "gauge" "portcullis_quota_counters" [],
        "Counters in this process";
    QUOTA_SHARED = "counter" "portcullis_quota_shared_charges_total" [],
        "Charges to a counter that is shared, because there were `quota.maxCounters` of keys that callers choose";
    REDIS_REQUESTS = "counter" "portcullis_redis_requests_total" ["redis", "outcome"],
        "Requests to Redis by how they ended: `answered`, or why it was of no use: `not_connected`, `not_asked` (after failures in a row), `timed_out`, `disconnected`, `read_only`, `loading`, `down`, `moved`, `full`, `wrong_type`, `not_permitted`, `refused`, `unusable`; `redis` is what it is for: `quota` or `revocation`";
    REDIS_DURATION = "histogram" "portcullis_redis_request_duration_seconds" ["redis"],
        "Time of requests to Redis that were answered";
    REDIS_CONNECTED = "gauge" "portcullis_redis_connected" ["redis"],
        "Connections to Redis that are in use";
    SVID_EXPIRY = "gauge" "portcullis_svid_expiry_timestamp_seconds" [],
        "When our X509-SVID ends, in seconds since 1970; 0 while we have none";
    SVID_UPDATES = "counter" "portcullis_svid_updates_total" [],
        "X509-SVIDs of ours that the Workload API gave and that were taken";
    WORKLOAD_API_CONNECTED = "gauge" "portcullis_workload_api_connected" ["task"],
        "1 while the Workload API answers, else 0; `task` is the stream: `workload_api_x509` or `workload_api_jwt`";
    TRUST_BUNDLES = "gauge" "portcullis_trust_bundles" ["task"],
        "Trust domains whose authorities are known, by the stream as above";
    TASK_SUCCESS = "gauge" "portcullis_task_last_success_timestamp_seconds" ["task"],
        "When the background task last succeeded, in seconds since 1970; 0 where it never did";
    USAGE_DROPPED = "counter" "portcullis_usage_dropped_total" [],
        "Records of decisions that were lost because the queue was full or could not be written";
    DECISION_LOG_WRITTEN = "counter" "portcullis_decision_log_written_total" [],
        "Lines written to the decision log";
    BUILD_INFO = "gauge" "portcullis_build_info" ["version"],
        "The version of the program, as a label; always 1";
    START_TIME = "gauge" "process_start_time_seconds" [],
        "When the process started, in seconds since 1970";
    RESIDENT_MEMORY = "gauge" "process_resident_memory_bytes" [],
        "Memory in use";
    CPU = "counter" "process_cpu_seconds_total" [],
        "Processor time used since the start";
    OPEN_FILES = "gauge" "process_open_fds" [],
        "Open file descriptors";
}

/// Registers metrics by their declarations.
#[derive(Debug)]
pub(super) struct Declare(Registry);

impl Declare {
    pub(super) fn new() -> Self {
        Self(Registry::default())
    }

    /// Registers `metric`. The registry adds `_total` to the names of counters itself.
    pub(super) fn metric<M: Metric + Clone>(&mut self, declaration: Declaration, metric: M) -> M {
        let name = declaration
            .name
            .strip_suffix("_total")
            .unwrap_or(declaration.name);
        self.0.register(name, declaration.help, metric.clone());
        metric
    }

    pub(super) fn into_registry(self) -> Registry {
        self.0
    }
}

/// The text of `docs/METRICS.md`.
#[must_use]
pub fn metrics_reference() -> String {
    let mut text = String::from(
        "# Metrics\n\n<!-- generated by `make schema` -->\n\n\
         The `observe` listener answers `GET /metrics` with these, as OpenMetrics text.\n\n\
         | name | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in ALL {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let labels = if labels.is_empty() {
            "–".to_owned()
        } else {
            labels.join(", ")
        };
        // writing to a string does not fail
        let _ = writeln!(
            text,
            "| `{}` | {} | {labels} | {} |",
            metric.name, metric.kind, metric.help
        );
    }
    text.push_str(
        "\nLabels come from closed sets: names of the configuration and of the catalog, the reasons of\n\
         [DENIALS.md](DENIALS.md), and names of ours. Nothing that a client sends becomes a label. `source`\n\
         is the name of a source of the catalog, or `configuration` for the authenticators and their files;\n\
         of revocations it is the path of a file, or `redis`.\n",
    );
    text
}
