//! The wiring: builds every part from the configuration, starts every task, and owns the order in
//! which the process starts and ends. Nothing here decides about a request.

pub(crate) mod quota;
mod reporting;
mod revocation;
mod store;
pub(crate) mod tls;
mod workload_api;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::admin::access::{Access, AdminToken};
use crate::admin::{self, AdminState, observe};
use crate::app::revocation::{Around, Revoking};
use crate::app::store::Stored;
use crate::authentication::config::{BuildContext, Lasting, build_all};
use crate::authentication::failures::FailureBudget;
use crate::authentication::key_refresh::KeySources;
use crate::authentication::proof::replay::Replays;
use crate::authentication::revocation::Revocations;
use crate::authentication::verified_tokens::VerifiedTokens;
use crate::authorization::Authorization;
use crate::authorization::quota::Quota;
use crate::catalog::sync::{BuildConfigured, CatalogSync};
use crate::check::Checker;
use crate::check::overload::Overload;
use crate::check::peer::PeerRules;
use crate::check::service::{AuthorizationService, Shared};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::load::Loaded;
use crate::config::reader::Reader;
use crate::listener::accept::Incoming;
use crate::listener::check::CheckServer;
use crate::listener::health::Health;
use crate::listener::{AdminListener, CheckListener, ListenerConfig, jwks, web};
use crate::readiness::Readiness;
use crate::shutdown::{Servers, Shutdown, Signals};
use crate::snapshot::{Configured, Snapshot, SnapshotReader};
use crate::spiffe::config::Mesh;
use crate::store::Store;
use crate::task::Tasks;
use crate::telemetry::logging::LogLevel;
use crate::telemetry::metrics::Metrics;
use crate::tls::ServerTls;
use crate::upstream::provider::config::{Ours, ProviderContext};
use crate::upstream::provider::ishare::Parties;
use crate::upstream::provider::service::ProviderServices;
use crate::upstream::provider::signed::published::PublishedKeys;
use crate::upstream::provider::{self, Provider};
use crate::upstream::token_cache::TokenCache;
use crate::upstream::token_refresh::TokenRefresh;
use crate::usage::Recorder;

/// The running process.
#[derive(Debug)]
pub struct App {
    parts: Parts,
    addresses: BTreeMap<String, String>,
}

/// What the parts of the process share.
#[derive(Debug)]
struct Parts {
    config: Config,
    tasks: Tasks,
    readiness: Readiness,
    metrics: Metrics,
    key_sources: KeySources,
    verified_tokens: VerifiedTokens,
    provider_tokens: TokenCache,
    published_keys: PublishedKeys,
    revoking: Revoking,
    store: Option<Stored>,
    sync: Arc<CatalogSync>,
    snapshots: SnapshotReader,
    quota: Quota,
    recorder: Recorder,
    servers: Servers,
    log_level: LogLevel,
    base: std::path::PathBuf,
    mesh: Arc<Mesh>,
    tls: BTreeMap<Arc<str>, ServerTls>,
}

/// Installs the cryptography that TLS and tokens use; once a process.
pub fn install_cryptography() {
    // an error means that it has been installed before
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

/// Reads the catalog and builds authenticators and providers for the first time, beside a server
/// which may be using the same store.
///
/// # Errors
/// Everything that is wrong ([`crate::problem::Problems`]).
pub fn load_catalog(loaded: Loaded, lasting: Lasting) -> anyhow::Result<(CatalogSync, Snapshot)> {
    let store = store::open(&loaded, Store::read)?;
    load_catalog_with(loaded, lasting, store.as_ref())
}

/// What is revoked in the files and the store of `loaded`, for commands that judge without serving.
///
/// # Errors
/// Everything that is wrong in the files, or with the store.
pub fn load_revocations(loaded: &Loaded, clock: &Clock) -> anyhow::Result<Revocations> {
    let store = store::open(loaded, Store::read)?;
    Ok(revocation::read(loaded, store.as_ref(), clock)?.0)
}

fn load_catalog_with(
    loaded: Loaded,
    lasting: Lasting,
    store: Option<&Store>,
) -> anyhow::Result<(CatalogSync, Snapshot)> {
    let source = store::source(&loaded, store);
    let build: BuildConfigured = Box::new(move |config, reader, findings| {
        let authenticators = findings.within("authenticators", |findings| {
            let mut context = BuildContext {
                reader,
                findings,
                lasting: &lasting,
            };
            build_all(&config.authenticators, &mut context)
        });
        let aliases = config.spiffe.mesh().aliases;
        let providers = findings.within("providers", |findings| {
            let mut context = ProviderContext {
                reader,
                findings,
                services: &lasting.providers,
                parties: &lasting.parties,
                ours: Ours {
                    workload_api: lasting.workload_api.as_ref(),
                    aliases: Some(&aliases),
                },
            };
            provider::config::build_all(&config.providers, &mut context)
        });
        Some(Configured {
            authenticators: authenticators?,
            providers: providers?,
            mesh: Arc::new(config.spiffe.mesh()),
        })
    });
    Ok(CatalogSync::load_first(loaded, build, source)?)
}

/// What the authenticators and providers of all revisions share.
fn lasting(config: &Config, around: Around<'_>, provider_tokens: &TokenCache) -> Lasting {
    let Around {
        clock,
        tasks,
        readiness,
        metrics,
    } = around;
    Lasting {
        clock: clock.clone(),
        key_sources: KeySources::online(tasks.clone(), readiness.clone()),
        verified_tokens: VerifiedTokens::new(config.checks.verified_tokens.0),
        failures: FailureBudget::new(&config.checks.failed_verifications),
        providers: ProviderServices::online(
            tasks.clone(),
            provider_tokens.clone(),
            clock.clone(),
            metrics.clone(),
        ),
        parties: Parties::default(),
        replays: Replays::default(),
        workload_api: None,
    }
}

/// Logs what the configuration warns of.
fn tell_warnings(loaded: &Loaded) {
    for warning in loaded.warnings.iter() {
        tracing::warn!(warning = %warning, "configuration");
    }
}

impl App {
    /// Starts everything: the catalog first, the ports last.
    ///
    /// # Errors
    /// Where the catalog is invalid or a port cannot be had.
    pub async fn start(loaded: Loaded, log_level: LogLevel, clock: Clock) -> anyhow::Result<Self> {
        tell_warnings(&loaded);
        let (config, base) = (loaded.config.clone(), loaded.base());
        let (tasks, readiness) = (Tasks::new(), Readiness::new());
        // held until every key source has begun, each of which holds readiness itself from then on
        let starting = readiness.hold("starting");
        let metrics = Metrics::new(clock.now());
        let around = Around {
            clock: &clock,
            tasks: &tasks,
            readiness: &readiness,
            metrics: &metrics,
        };
        let provider_tokens = TokenCache::new(config.checks.provider_tokens.0);
        let counting = quota::settings(&loaded)?;
        let quota = quota::start(&config.quota, counting, &tasks, &metrics);
        let lasting = Lasting {
            replays: Replays::new(quota.store().redis().cloned()),
            workload_api: workload_api::of(&loaded, around)?,
            ..lasting(&config, around, &provider_tokens)
        };
        let tls = tls::start(&loaded, lasting.workload_api.as_ref(), around)?;
        let (key_sources, parties) = (lasting.key_sources.clone(), lasting.parties.clone());
        let verified_tokens = lasting.verified_tokens.clone();
        let store = store::open(&loaded, Store::open)?;
        let revoking = Revoking::start(&loaded, store.as_ref(), around)?;
        let (sync, first) = load_catalog_with(loaded, lasting, store.as_ref())?;
        let (recorder, decision_log) =
            Recorder::build(&config.decision_log, metrics.clone(), clock.clone())?;
        tasks.streaming("decision_log", decision_log.run()).keep();
        let mesh = Arc::new(config.spiffe.mesh());
        let parts = Parts {
            sync: Arc::new(sync),
            snapshots: SnapshotReader::new(first),
            servers: Servers::new(),
            quota,
            config,
            tasks,
            readiness,
            metrics,
            key_sources,
            verified_tokens,
            published_keys: PublishedKeys::default(),
            revoking,
            store: store
                .map(|store| Stored::new(store, parties, provider_tokens.clone(), clock.clone())),
            provider_tokens,
            recorder,
            log_level,
            base,
            mesh,
            tls,
        };
        let revocations = parts.revoking.keeper.revocations().clone();
        let authorization = Authorization::new(clock.clone(), revocations, parts.quota.clone());
        let addresses = parts.listen(authorization).await?;
        parts.start_tasks();
        drop(starting);
        Ok(Self { parts, addresses })
    }

    /// The address of each listener.
    #[must_use]
    pub fn addresses(&self) -> &BTreeMap<String, String> {
        &self.addresses
    }

    /// Writes the address of each listener as JSON, whole, so that a reader never sees half.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_addresses(&self, path: &Path) -> anyhow::Result<()> {
        let draft = path.with_extension("draft");
        std::fs::write(&draft, serde_json::to_vec(&self.addresses)?)?;
        Ok(std::fs::rename(draft, path)?)
    }

    /// Serves until a signal to end, then ends in order; a second signal ends at once.
    ///
    /// # Errors
    /// Where a task or listener ended although nobody stopped it.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        let reload = self.parts.sync.nudger();
        let failed = tokio::select! {
            signal = signals.next(&reload) => {
                tracing::info!(signal, "stopping");
                None
            }
            task = self.parts.tasks.ended() => Some(task),
        };
        let checks = &self.parts.config.checks;
        let shutdown = Shutdown {
            drain_delay: if failed.is_some() {
                Duration::ZERO
            } else {
                checks.drain_delay.0
            },
            grace: checks.drain_grace.0,
            readiness: self.parts.readiness,
            servers: self.parts.servers,
            recorder: self.parts.recorder,
            quota: self.parts.quota,
            tasks: self.parts.tasks,
        };
        tokio::select! {
            () = shutdown.run() => {}
            signal = signals.next(&reload) => tracing::warn!(signal, "stopped at once"),
        }
        match failed {
            Some(task) => anyhow::bail!("task `{task}` ended"),
            None => Ok(()),
        }
    }
}

impl Parts {
    /// The tasks (`catalog_sync`, `token_refresh`, `revocation_…`, `catalog_metrics`, `quota_sweep`)
    /// beside those that start with
    /// what they serve: `decision_log` ([`App::start`]),
    /// `health` and `listener/…` ([`Parts::listen`]), and the refresh of each key set
    /// ([`KeySources`]).
    fn start_tasks(&self) {
        Arc::clone(&self.sync)
            .watch(self.snapshots.clone(), &self.tasks)
            .keep();
        let refresh = TokenRefresh::new(
            self.snapshots.clone(),
            self.provider_tokens.clone(),
            self.published_keys.clone(),
            &self.readiness,
        );
        self.tasks.streaming("token_refresh", refresh.run()).keep();
        self.revoking.start_tasks(&self.tasks);
        let reporting = reporting::catalog(Arc::clone(&self.sync), self.metrics.clone());
        self.tasks.streaming("catalog_metrics", reporting).keep();
        reporting::quota(&self.quota, &self.metrics, &self.tasks);
        let (readiness, grace) = (self.readiness.clone(), self.config.checks.startup_grace.0);
        let stopping = self.tasks.stopping();
        self.tasks.detached(async move {
            tokio::select! {
                () = tokio::time::sleep(grace) => readiness.waive(),
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Opens every port before any is served.
    async fn listen(
        &self,
        authorization: Authorization,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let mut opened = Vec::new();
        for (name, config) in &self.config.listeners {
            let limits = match config {
                ListenerConfig::Check(listener) => listener.accept_limits(),
                ListenerConfig::Admin(_)
                | ListenerConfig::Observe(_)
                | ListenerConfig::Jwks(_)
                | ListenerConfig::Logout(_) => web::accept_limits(),
            };
            let name: Arc<str> = name.as_str().into();
            let incoming = Incoming::bind(&name, config.address(), limits, &self.metrics).await?;
            opened.push((config, incoming.with_tls(self.tls.get(&name).cloned())));
        }
        let health = Health::new().await;
        self.tasks
            .streaming("health", health.clone().follow(self.readiness.clone()))
            .keep();
        let shared = self.shared(authorization);
        self.report(&shared);
        let mut addresses = BTreeMap::new();
        for (config, incoming) in opened {
            addresses.insert(
                incoming.name().as_ref().to_owned(),
                incoming.address().to_string(),
            );
            self.serve(config, incoming, &shared, &health)?;
        }
        Ok(addresses)
    }

    /// Lets metrics read what is not counted as it happens.
    fn report(&self, shared: &Arc<Shared>) {
        reporting::sample(&self.metrics, shared, &self.key_sources, &self.tasks);
        let tokens = self.verified_tokens.clone();
        self.metrics
            .before_each_scrape(move |metrics| metrics.set_verified_tokens(&tokens));
        let (snapshots, tokens) = (self.snapshots.clone(), self.provider_tokens.clone());
        self.metrics.before_each_scrape(move |metrics| {
            let snapshot = snapshots.current();
            let providers = snapshot.providers().iter();
            let paused = |provider: &Provider| provider.service().pause().is_some();
            metrics.set_providers(providers.map(|(name, provider)| (name, paused(provider))));
            metrics.set_provider_cache(&tokens);
        });
    }

    fn serve(
        &self,
        config: &ListenerConfig,
        incoming: Incoming,
        shared: &Arc<Shared>,
        health: &Health,
    ) -> anyhow::Result<()> {
        let name = Arc::clone(incoming.name());
        match config.clone() {
            ListenerConfig::Check(listener) => {
                let peers = self.peers(&name, &listener);
                let (shared, rules) = (Arc::clone(shared), listener.rules());
                let service = AuthorizationService::new(shared, Arc::clone(&name), rules, peers);
                let server = CheckServer {
                    listener,
                    checks: service,
                    health: health.clone(),
                    tasks: self.tasks.clone(),
                };
                let served = server.serve(incoming, self.servers.stop());
                self.servers.run(&self.tasks, &name, served);
            }
            ListenerConfig::Admin(listener) => {
                let fiware = listener.fiware.as_ref();
                let fiware = fiware.zip(self.store.as_ref()).map(|(fiware, store)| {
                    store.fiware_state(fiware, &self.sync, &self.snapshots, &self.tasks)
                });
                let access = self.access(&name, &listener)?;
                let router = admin::router(self.admin_state(), fiware, access);
                self.tasks
                    .streaming(&format!("listener/{name}"), web_task(incoming, router))
                    .keep();
            }
            ListenerConfig::Observe(_) => {
                let router = observe::router(self.readiness.clone(), self.metrics.clone());
                self.tasks
                    .streaming(&format!("listener/{name}"), web_task(incoming, router))
                    .keep();
            }
            ListenerConfig::Jwks(_) => {
                let router = jwks::router(self.published_keys.clone());
                self.tasks
                    .streaming(&format!("listener/{name}"), web_task(incoming, router))
                    .keep();
            }
            ListenerConfig::Logout(_) => {
                let router = self.revoking.logout(&self.config, &self.snapshots);
                self.tasks
                    .streaming(&format!("listener/{name}"), web_task(incoming, router))
                    .keep();
            }
        }
        Ok(())
    }

    fn peers(&self, name: &Arc<str>, listener: &CheckListener) -> PeerRules {
        PeerRules::new(
            listener.peers.as_ref(),
            listener.trust_xfcc,
            Arc::clone(&self.mesh),
            (&self.metrics, name),
        )
    }

    fn shared(&self, authorization: Authorization) -> Arc<Shared> {
        let checks = &self.config.checks;
        Arc::new(Shared {
            checker: Checker::new(
                authorization,
                checks.decision_header(),
                self.recorder.clone(),
            ),
            snapshots: self.snapshots.clone(),
            overload: Overload::of(&Handle::current(), checks.max_wait.0),
            slots: Semaphore::new(checks.max_concurrent.min(Semaphore::MAX_PERMITS)),
            deadline: checks.deadline.0,
            max_message: checks.max_message.0,
        })
    }

    fn access(&self, name: &str, listener: &AdminListener) -> anyhow::Result<Access> {
        let mut reader = Reader::new(&self.base);
        let token = listener
            .token
            .as_ref()
            .map(|token| token.load(&mut reader))
            .transpose();
        let token =
            token.with_context(|| format!("the token of listener `{name}` cannot be had"))?;
        Access::new(&listener.address, token.as_ref().map(AdminToken::new))
    }

    fn admin_state(&self) -> AdminState {
        let (status, problems) = (self.sync.subscribe(), self.sync.subscribe());
        let key_sources = self.key_sources.clone();
        AdminState {
            snapshots: self.snapshots.clone(),
            tasks: self.tasks.clone(),
            readiness: self.readiness.clone(),
            catalog_status: Arc::new(move || reporting::told(&*status.borrow())),
            problems: Arc::new(move || reporting::told(&problems.borrow().problems())),
            key_sets: Arc::new(move || reporting::told(&key_sources.statuses())),
            provider_tokens: self.provider_tokens.clone(),
            revocations: self.revoking.admin_state(),
            quota: self.quota.clone(),
            log_level: self.log_level.clone(),
            nudge_reload: self.sync.nudger(),
        }
    }
}

/// A web listener takes part in the process to its very end, so that probes are answered; it is
/// stopped with the tasks.
async fn web_task(incoming: Incoming, router: axum::Router) {
    if let Err(error) = web::serve(incoming, router).await {
        tracing::error!(error = format!("{error:#}"), "listener ended");
    }
}
