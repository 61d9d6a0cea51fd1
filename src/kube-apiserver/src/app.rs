//! Builds the server from its configuration, runs it and lets it end in order.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use component_base::health::Checks;
use component_base::serving::Listener;
use component_base::tls::{self, TlsFiles};
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use storage::{Etcd, EtcdConfig, StorageError};
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::authn::Authenticator;
use crate::authz::{self, Authorizer};
use crate::config::Config;
use crate::connect::Kubelets;
use crate::filters::{self, InFlight};
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::service_plumbing::{Allocators, bootstrap, endpoints};
use crate::token::issuer::Issuer;

/// How long etcd may take to come up before we give up and are started anew.
const ETCD_PATIENCE: Duration = Duration::from_mins(1);
/// How often a port that nobody listens on yet is tried: there is no event to wait for.
const ETCD_RETRY: Duration = Duration::from_millis(100);

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
    /// What changes and checks objects on their way in.
    pub admission: Admission,
    /// Cluster IPs and node ports.
    pub allocators: Allocators,
    /// How kubelets are reached.
    pub kubelets: Kubelets,
    /// What is being worked on.
    pub in_flight: InFlight,
    /// Counters.
    pub metrics: Metrics,
    /// `/livez`, `/readyz`, `/healthz`.
    pub checks: Checks,
    /// Cancelled when the server is to end.
    pub token: CancellationToken,
}

/// What health checks look at.
#[derive(Default)]
struct Progress {
    /// Namespaces, policy and the rest of the first objects are there.
    started: AtomicBool,
    /// The server is about to end.
    stopping: AtomicBool,
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
    let tls = tls::server_config_with_authorities(files, authorities.cloned().collect())?;
    // The server ends a little after it said so, for load balancers to look elsewhere.
    let end = CancellationToken::new();
    let progress = Arc::new(Progress::default());
    let app = build(config, &progress, &end).await?;
    tokio::spawn(lame_duck(Arc::clone(&app), Arc::clone(&progress), stop, end.clone()));
    let work = tokio::spawn(start(Arc::clone(&app), progress));
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
    Ok(())
}

/// Connects to etcd, which may be starting beside us; a mistake in the configuration is not waited for.
async fn connect(config: &Config) -> anyhow::Result<Etcd> {
    let deadline = tokio::time::Instant::now() + ETCD_PATIENCE;
    loop {
        let attempt = Etcd::connect(EtcdConfig {
            ca: config.etcd.etcd_cafile.clone(),
            cert: config.etcd.etcd_certfile.clone(),
            key: config.etcd.etcd_keyfile.clone(),
            ..EtcdConfig::new(config.etcd.etcd_servers.clone())
        });
        match attempt.await {
            Ok(etcd) => return Ok(etcd),
            Err(StorageError::Unavailable(_) | StorageError::Timeout) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(ETCD_RETRY).await;
            }
            Err(error) => return Err(error).context("cannot connect to etcd"),
        }
    }
}

async fn build(config: Config, progress: &Arc<Progress>, end: &CancellationToken) -> anyhow::Result<Arc<App>> {
    let etcd = connect(&config).await?;
    let registry = Arc::new(Registry::start(&etcd, &config.etcd.etcd_prefix, end));
    let authenticator = Authenticator::new(&config.access, Box::new(Arc::clone(&registry)))?;
    let issuer = Issuer::load(&config.access, authenticator.service_accounts.audiences())?;
    Ok(Arc::new(App {
        authorizer: Authorizer::new(&config.access.authorization_mode),
        admission: Admission::new(&config.access)?,
        allocators: Allocators::new(&config.service, &config.etcd.etcd_prefix),
        kubelets: Kubelets::load(&config.kubelet)?,
        in_flight: InFlight::new(&config.limits),
        metrics: Metrics::default(),
        checks: checks(&registry, progress),
        token: end.clone(),
        config,
        etcd,
        registry,
        authenticator,
        issuer,
    }))
}

fn checks(registry: &Arc<Registry>, progress: &Arc<Progress>) -> Checks {
    let caches = Arc::clone(registry);
    let (started, stopping) = (Arc::clone(progress), Arc::clone(progress));
    let on = |flag: &AtomicBool| flag.load(Ordering::Acquire);
    Checks::new()
        .add("log", || Ok(()))
        .add_ready("etcd", move || match caches.first_unready() {
            Some(kind) => Err(format!("the cache of {kind} is not filled")),
            None => Ok(()),
        })
        .add_ready("poststarthook/bootstrap", move || {
            if on(&started.started) { Ok(()) } else { Err("not finished".to_owned()) }
        })
        .add_ready(
            "shutdown",
            move || {
                if on(&stopping.stopping) { Err("process is shutting down".to_owned()) } else { Ok(()) }
            },
        )
}

/// What has to be done once, then what goes on for as long as the server lives.
async fn start(app: Arc<App>, progress: Arc<Progress>) {
    app.registry.ready().await;
    app.authorizer.follow(&app.registry, &app.token).await;
    while !app.token.is_cancelled() {
        match first_objects(&app).await {
            Ok(()) => break,
            Err(error) => tracing::warn!(%error, "the first objects cannot be made yet"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    progress.started.store(true, Ordering::Release);
    tracing::info!("ready");
    let compaction = app.config.etcd.etcd_compaction_interval;
    if !compaction.is_zero() {
        let (etcd, token) = (app.etcd.clone(), app.token.clone());
        tokio::spawn(async move { etcd.compact_every(compaction, token).await });
    }
    endpoints::run(app).await;
}

async fn first_objects(app: &Arc<App>) -> Result<(), apimachinery::Status> {
    bootstrap::ensure(app).await?;
    authz::feed::ensure_policy(&app.registry).await?;
    app.allocators.repair(app).await;
    Ok(())
}

/// Tells `/readyz` of the end first, then ends.
async fn lame_duck(app: Arc<App>, progress: Arc<Progress>, stop: CancellationToken, end: CancellationToken) {
    stop.cancelled().await;
    progress.stopping.store(true, Ordering::Release);
    tokio::time::sleep(app.config.serving.shutdown_delay_duration).await;
    end.cancel();
}
