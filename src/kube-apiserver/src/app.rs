//! Builds the server from its configuration, runs it and lets it end in order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use component_base::health::Checks;
use component_base::serving::Listener;
use component_base::tls::{self, TlsFiles};
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use storage::{Etcd, EtcdConfig};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::audit::Audit;
use crate::authentication_info;
use crate::authn::Authenticator;
use crate::authz::{self, Authorizer};
use crate::config::Config;
use crate::connect::Kubelets;
use crate::data_store::DataStore;
use crate::encryption::Encryption;
use crate::fairness::{self, Fairness};
use crate::filters::{self, InFlight};
use crate::first_objects;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::service_plumbing::{self, Allocators, bootstrap, endpoints};
use crate::stages::{HOOKS, Progress, Stage};
use crate::token::issuer::Issuer;

/// The rest after a failure to make the first objects, for which etcd has failed or another server was in the way.
const FIRST_OBJECTS_RETRY: Duration = Duration::from_millis(100);

/// Everything a request may need; shared by all connections.
pub struct App {
    /// The configuration.
    pub config: Config,
    /// The data store; verbs go through [`Registry`] and `verbs/store.rs`, which guard each write.
    pub etcd: Etcd,
    /// All kinds.
    pub registry: Arc<Registry>,
    /// Says who makes a request.
    pub authenticator: Authenticator,
    /// Makes service account tokens; none without a signing key.
    pub issuer: Option<Issuer>,
    /// Says whether they may.
    pub authorizer: Authorizer,
    /// What all answers tell browsers of HTTPS, if they shall.
    pub strict_transport_security: Option<HeaderValue>,
    /// What changes and checks objects on their way in.
    pub admission: Admission,
    /// Cluster IPs and node ports.
    pub allocators: Allocators,
    /// How kubelets are reached.
    pub kubelets: Kubelets,
    /// The audit log.
    pub audit: Arc<Audit>,
    /// Who works now and who waits; none with `--enable-priority-and-fairness=false`.
    pub fairness: Option<Arc<Fairness>>,
    /// What is being worked on.
    pub in_flight: InFlight,
    /// Counters.
    pub metrics: Metrics,
    /// `/livez`, `/readyz`, `/healthz`.
    pub checks: Checks,
    /// How far the start has come.
    pub progress: Arc<Progress>,
    /// Whether etcd answers.
    pub data_store: Arc<DataStore>,
    /// Cancelled when the server is asked to end: it says so, and goes on for a while.
    pub stopping: CancellationToken,
    /// Cancelled when the server ends.
    pub token: CancellationToken,
}

/// Runs the server until `stop` is cancelled and its requests have ended.
///
/// # Errors
/// If it cannot start.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = Listener::bind(config.listen).await?;
    serve(config, listener, stop).await
}

/// [`run`] on a port that is bound already.
///
/// # Errors
/// If it cannot start.
pub async fn serve(config: Config, listener: Listener, stop: CancellationToken) -> anyhow::Result<()> {
    let files = TlsFiles {
        cert: config.serving.tls_cert_file.clone(),
        key: config.serving.tls_private_key_file.clone(),
        client_ca: None,
    };
    let access = &config.access;
    let authorities = access.client_ca_file.iter().chain(&access.requestheader_client_ca_file);
    let tls = tls::server_config_with(files, authorities.cloned().collect(), &config.serving.tls_settings())?;
    let listener = listener.with_streams(config.serving.http2_max_streams_per_connection);
    let end = CancellationToken::new();
    let app = build(config, (stop, end.clone())).await?;
    tokio::spawn(lame_duck(Arc::clone(&app), end.clone()));
    let work = tokio::spawn(start(Arc::clone(&app)));
    let service = {
        let app = Arc::clone(&app);
        service_fn(move |request: Request<Incoming>| {
            let app = Arc::clone(&app);
            async move { Ok::<_, Infallible>(filters::serve(app, request).await) }
        })
    };
    tracing::info!(address = %listener.address(), "serving");
    listener.serve_https(tls, service, end).await;
    // The last thing to do is to leave the endpoints of the kubernetes Service.
    let _ = work.await;
    app.audit.close().await;
    Ok(())
}

/// A client of etcd, which may be starting beside us: until it answers, this server is there but not ready.
async fn open(config: &Config) -> anyhow::Result<Etcd> {
    let etcd = Etcd::open(EtcdConfig {
        ca: config.etcd.etcd_cafile.clone(),
        cert: config.etcd.etcd_certfile.clone(),
        key: config.etcd.etcd_keyfile.clone(),
        ..EtcdConfig::new(config.etcd.etcd_servers.clone())
    });
    etcd.await.context("cannot set up the client of etcd")
}

async fn build(config: Config, (stopping, end): (CancellationToken, CancellationToken)) -> anyhow::Result<Arc<App>> {
    let encryption = Encryption::load(config.etcd.encryption_provider_config.as_deref())?;
    let etcd = open(&config).await?;
    let data_store = Arc::new(DataStore::new(etcd.clone()));
    let progress = Arc::new(Progress::default());
    let registry = Arc::new(Registry::start(&etcd, &config.etcd.etcd_prefix, &encryption, &end));
    let (caches, token) = (Arc::clone(&registry), end.clone());
    tokio::spawn(async move { caches.follow_keys(&encryption, &token).await });
    let authenticator = Authenticator::new(&config.access, Box::new(Arc::clone(&registry)))?;
    let issuer = Issuer::load(&config.access, authenticator.service_accounts.audiences())?;
    let admission = Admission::new(&config.access)?;
    let metrics = Metrics::new(&registry, admission.times(), authenticator.certificate_lifetimes());
    Ok(Arc::new(App {
        strict_transport_security: config.serving.strict_transport_security(),
        authorizer: Authorizer::new(&config.access.authorization_mode),
        admission,
        allocators: Allocators::new(&config.service, &config.etcd.etcd_prefix),
        kubelets: Kubelets::load(&config.kubelet)?,
        fairness: config.limits.enable_priority_and_fairness.then(|| Arc::new(Fairness::new(&config.limits))),
        in_flight: InFlight::new(&config.limits),
        audit: Arc::new(Audit::new(&config.audit, &metrics)?),
        metrics,
        checks: checks(&registry, &data_store, (&progress, config.limits.livez_grace_period), &stopping),
        progress,
        data_store,
        stopping,
        token: end,
        config,
        etcd,
        registry,
        authenticator,
        issuer,
    }))
}

fn checks(
    registry: &Arc<Registry>,
    data_store: &Arc<DataStore>,
    (progress, grace): (&Arc<Progress>, Duration),
    stopping: &CancellationToken,
) -> Checks {
    let (caches, stopping) = (Arc::clone(registry), stopping.clone());
    let mut checks = Checks::new().add("log", || Ok(()));
    // A restart of this server does not bring etcd back, so `/livez` does not ask.
    for (name, endpoints) in [("etcd", &["readyz", "healthz"][..]), ("etcd-readiness", &["readyz"])] {
        let data_store = Arc::clone(data_store);
        checks = checks.add_at(endpoints, name, move || data_store.verdict());
    }
    checks = checks.add_ready("informer-sync", move || match caches.first_unready() {
        Some(kind) => Err(format!("the cache of {kind} is not filled")),
        None => Ok(()),
    });
    let passes = |good: bool| if good { Ok(()) } else { Err("not finished".to_owned()) };
    for (name, stage) in HOOKS {
        let (ready, live) = (Arc::clone(progress), Arc::clone(progress));
        checks = checks.add_at(&["readyz", "healthz"], name, move || passes(ready.has(*stage))).add_at(
            &["livez"],
            name,
            move || passes(live.has(*stage) || live.may_take_its_time(grace)),
        );
    }
    let shuts_down = || Err("process is shutting down".to_owned());
    checks.add_ready("shutdown", move || if stopping.is_cancelled() { shuts_down() } else { Ok(()) })
}

/// What has to be done once, then what goes on for as long as the server lives.
async fn start(app: Arc<App>) {
    tokio::select! {
        () = app.token.cancelled() => return,
        () = prepare(&app) => {}
    }
    app.progress.reach(Stage::Complete);
    tracing::info!("ready");
    let compaction = app.config.etcd.etcd_compaction_interval;
    if !compaction.is_zero() {
        let (etcd, token) = (app.etcd.clone(), app.token.clone());
        tokio::spawn(async move { etcd.compact_every(compaction, token).await });
    }
    tokio::spawn(service_plumbing::repair::run(Arc::clone(&app)));
    tokio::spawn(authentication_info::run(Arc::clone(&app)));
    endpoints::run(app).await;
}

async fn prepare(app: &Arc<App>) {
    app.registry.ready().await;
    app.progress.reach(Stage::Cached);
    app.authorizer.follow(&app.registry, &app.token).await;
    first_objects::seed(app).await;
    let fairness = app.fairness.clone().map(|fairness| {
        let (complete, completed) = oneshot::channel();
        tokio::spawn(fairness::follow(fairness, Arc::clone(&app.registry), app.token.clone(), complete));
        completed
    });
    while let Err(error) = ensure_first_objects(app).await {
        tracing::warn!(%error, "the first objects cannot be made yet");
        tokio::time::sleep(FIRST_OBJECTS_RETRY).await;
    }
    if let Some(fairness) = fairness {
        // Upstream is not ready either before its flow schemas are.
        let _ = fairness.await;
    }
}

async fn ensure_first_objects(app: &Arc<App>) -> Result<(), apimachinery::Status> {
    bootstrap::ensure(app).await?;
    app.progress.reach(Stage::Founded);
    authz::feed::ensure_policy(&app.registry).await?;
    app.progress.reach(Stage::Guarded);
    app.allocators.adopt(app).await;
    authentication_info::ensure(app).await?;
    app.progress.reach(Stage::Plumbed);
    Ok(())
}

/// Ends the server a little after it said so, for load balancers to look elsewhere.
async fn lame_duck(app: Arc<App>, end: CancellationToken) {
    app.stopping.cancelled().await;
    tokio::time::sleep(app.config.serving.shutdown_delay_duration).await;
    end.cancel();
}
