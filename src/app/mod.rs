//! The composition root: the only place that knows every concrete type.
//!
//! - [`App`]: a server, built and then run; `serve` and every test build the same one.
//! - `tools`: what the other subcommands do with the stores.

mod sign_ins;
mod tools;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use actix_codec::Framed;
use actix_http::{HttpService, Request, h1};
use actix_rt::net::TcpStream;
use actix_server::ServerHandle;
use actix_service::{fn_service, map_config};
use actix_web::{dev::AppConfig, middleware::from_fn};
use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{runtime, task::JoinHandle, time::timeout};

pub use tools::{export, migrate, repair, serve};

use self::sign_ins::AuthSignIns;
use crate::{
    adapters::{
        memory::{MemoryCodes, MemoryCounters},
        sql::{Sql, migrate as migrations},
        sqlite_log::SqliteLog,
        terminal::TerminalSender,
    },
    config::{Config, Profile},
    data_dir::DataDir,
    domain::{id::RoomId, time::Clock},
    http::{self, Readiness},
    ports::{CodeSender, RoomLog},
    realtime::{Registry, Roster, limiter::PublishLimiter, protocol::CloseCode, session, upgrade::Upgrades},
    service::{
        auth::{Auth, AuthParts},
        events::Events,
        facts::SqlFacts,
        invites::Invites,
    },
};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4_096;

/// How long a client may take to send a request's head.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an HTTP connection may be idle.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How often full rate buckets are forgotten.
const TIDY: Duration = Duration::from_secs(60);

/// Sign-ins asked for in one query of the revocation poll.
const POLL_PAGE: usize = 200;

/// Puts something around the log.
pub type WrapLog = Box<dyn FnOnce(Arc<dyn RoomLog>) -> Arc<dyn RoomLog> + Send>;

/// What a test may put in the place of the real thing, because the real one
/// cannot be brought to it: a clock that steps, a log that fails on demand.
pub struct Overrides {
    /// The wall clock.
    pub clock: Clock,
    /// Stands around the log.
    pub wrap_log: WrapLog,
    /// Brings one-time codes.
    pub sender: Arc<dyn CodeSender>,
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            wrap_log: Box::new(|log| log),
            sender: Arc::new(TerminalSender::stdout()),
        }
    }
}

/// A server that is built but does not accept yet.
pub struct App {
    config: Config,
    address: SocketAddr,
    listener: TcpListener,
    registry: Registry,
    roster: Roster,
    shared: Arc<session::Shared>,
    parts: http::Parts,
    log: Arc<SqliteLog>,
    tasks: Vec<JoinHandle<()>>,
    arbiters: Vec<actix::Arbiter>,
    /// Held until the very end: it keeps a second server off the stores.
    data_dir: DataDir,
}

impl App {
    /// Opens the stores, binds the listener and puts the parts together.
    ///
    /// Call within an actix system; rooms start on `background`.
    ///
    /// # Errors
    /// What is missing or in use, in words for the one who starts the server.
    pub async fn build(
        mut config: Config,
        background: &runtime::Handle,
        overrides: Overrides,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(
            config.profile == Profile::Embedded,
            "this build runs the embedded profile only; unset TIMINGLE_PROFILE"
        );
        crate::metrics::install().context("the metrics cannot be set up")?;
        let Overrides {
            clock,
            wrap_log,
            sender,
        } = overrides;

        let data_dir = DataDir::open(&config.data.dir)?;
        if config.auth.jwt_secret.expose_secret().is_empty() {
            config.auth.jwt_secret = SecretString::from(data_dir.secret()?.expose_secret().to_owned());
        }
        let (sql, log) = open_stores(&config, &data_dir).await?;

        let wanted = SocketAddr::new(config.server.host, config.server.port);
        let listener = listen(wanted).with_context(|| format!("cannot listen on {wanted}"))?;
        let address = listener.local_addr()?;
        if config.server.public_url.is_empty() {
            config.server.public_url = format!("http://localhost:{}", address.port());
        }

        let arbiters: Vec<actix::Arbiter> = (0..threads(config.room.threads))
            .map(|_| actix::Arbiter::new())
            .collect();
        let registry = Registry::new(
            wrap_log(Arc::clone(&log) as Arc<dyn RoomLog>),
            Arc::new(SqlFacts::new(sql.clone())),
            clock.clone(),
            arbiters.iter().map(actix::Arbiter::handle).collect(),
            background.clone(),
            &config,
        );
        let roster = Roster::new(config.limits.sockets_per_user);
        let auth = {
            let roster = roster.clone();
            Auth::new(
                config.auth.clone(),
                &config.limits,
                AuthParts {
                    sql: sql.clone(),
                    codes: Arc::new(MemoryCodes::new(clock.clone())),
                    counters: Arc::new(MemoryCounters::new()),
                    sender,
                    on_revoked: Arc::new(move |sign_in| roster.revoke(sign_in)),
                    clock: clock.clone(),
                },
            )
        };
        let shared = Arc::new(session::Shared {
            registry: registry.clone(),
            roster: roster.clone(),
            sign_ins: Arc::new(AuthSignIns(auth.clone())),
            limiter: PublishLimiter::new(config.limits.publishes_per_s, config.limits.publish_burst),
            clock: clock.clone(),
            limits: config.limits.clone(),
            session: config.session.clone(),
            publish_timeout: config.room.publish_timeout,
        });
        let parts = http::Parts {
            settings: http::Settings::new(&config),
            auth,
            events: Events::new(sql.clone(), clock.clone()),
            invites: Invites::new(
                sql.clone(),
                clock,
                config.limits.participants,
                &config.server.public_url,
            ),
            registry: registry.clone(),
            readiness: readiness(&sql, &log, &roster),
        };
        let tasks = vec![
            background.spawn(registry.clone().sweep(config.room.sweep)),
            background.spawn(obey_revocations(Arc::clone(&shared), config.auth.revocation_poll)),
            background.spawn(tidy(Arc::clone(&shared))),
        ];
        Ok(Self {
            config,
            address,
            listener,
            registry,
            roster,
            shared,
            parts,
            log,
            tasks,
            arbiters,
            data_dir,
        })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Base of the links the server makes.
    pub fn public_url(&self) -> &str {
        &self.config.server.public_url
    }

    /// Where the data lies.
    pub fn data_dir(&self) -> PathBuf {
        std::path::absolute(self.data_dir.path()).unwrap_or_else(|_| self.data_dir.path().to_owned())
    }

    /// Accepts until `stop` resolves, then drains: clients are told when to come back, what
    /// waits for the log is written, and only then is anything closed.
    ///
    /// # Errors
    /// The server cannot start, or fails.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let metrics = match self.config.metrics.port {
            0 => None,
            port => {
                let address = SocketAddr::new(self.config.metrics.host, port);
                let server = http::ops::serve_metrics(address).with_context(|| {
                    format!("cannot serve metrics on {address} (metrics.port = 0 turns them off)")
                })?;
                let handle = server.handle();
                actix_rt::spawn(server);
                Some(handle)
            }
        };
        let server = self.server()?;
        let handle = server.handle();
        let mut serving = actix_rt::spawn(server);
        tracing::info!(address = %self.address, "serving on {}", self.address);
        tokio::select! {
            ended = &mut serving => {
                ended.context("the server fell")??;
                anyhow::bail!("the server ended by itself");
            }
            () = stop => {}
        }
        let deadline = self.config.server.drain_timeout;
        if timeout(deadline, self.drain(&handle)).await.is_err() {
            tracing::warn!(
                "the server did not drain within {} s, stopping anyway",
                deadline.as_secs_f32()
            );
        }
        if let Some(metrics) = metrics {
            metrics.stop(false).await;
        }
        handle.stop(false).await;
        self.close().await;
        Ok(())
    }

    fn server(&mut self) -> io::Result<actix_server::Server> {
        let upgrades = Arc::new(Upgrades {
            shared: Arc::clone(&self.shared),
            allowed_origins: self.config.server.allowed_origins.clone(),
            render: Box::new(http::render_error),
        });
        let parts = self.parts.clone();
        let factory = move || {
            let (upgrades, parts) = (Arc::clone(&upgrades), parts.clone());
            let app = actix_web::App::new()
                .wrap(from_fn(http::edge))
                .configure(move |config| http::configure(config, parts.clone()));
            let upgrade = fn_service(
                move |(request, framed): (Request, Framed<TcpStream, h1::Codec>)| {
                    let upgrades = Arc::clone(&upgrades);
                    async move {
                        upgrades.accept(request, framed).await;
                        Ok::<(), actix_web::Error>(())
                    }
                },
            );
            HttpService::build()
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(REQUEST_TIMEOUT)
                .tcp_nodelay(true)
                .upgrade(upgrade)
                .h1(map_config(app, |()| AppConfig::default()))
                .tcp()
        };
        Ok(actix_server::Server::build()
            .workers(threads(self.config.server.workers))
            .backlog(BACKLOG)
            .disable_signals()
            .shutdown_timeout(1)
            .listen("http", self.listener.try_clone()?, factory)?
            .run())
    }

    async fn drain(&self, server: &ServerHandle) {
        tracing::info!(sessions = self.roster.len(), "draining");
        self.roster.announce_shutdown(self.config.server.drain_spread);
        self.registry.quiesce().await;
        self.roster.close_all(CloseCode::Shutdown);
        self.roster.emptied().await;
        server.stop(true).await;
    }

    async fn close(self) {
        self.registry.close();
        for task in &self.tasks {
            task.abort();
        }
        self.log.close().await;
        for arbiter in self.arbiters {
            arbiter.stop();
        }
        tracing::info!("stopped");
        drop(self.data_dir);
    }
}

/// Opens both stores, the relational one at this version's schema.
async fn open_stores(config: &Config, data_dir: &DataDir) -> anyhow::Result<(Sql, Arc<SqliteLog>)> {
    let app_db = data_dir.path().join("app.db");
    migrations::migrate(&app_db)
        .await
        .with_context(|| format!("{} cannot be migrated", app_db.display()))?;
    let sql = Sql::open(&app_db, config.data.pool, config.data.pool_timeout)
        .await
        .with_context(|| format!("{} cannot be opened", app_db.display()))?;
    let chat_db = data_dir.path().join("chat.db");
    let name = chat_db.display().to_string();
    let log = tokio::task::spawn_blocking(move || SqliteLog::open(&chat_db)).await?;
    let log = log.with_context(|| format!("{name} cannot be opened"))?;
    Ok((sql, Arc::new(log)))
}

/// A listener on `address`; a port that was in use by a server just killed can be taken at once.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn threads(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    }
}

fn readiness(sql: &Sql, log: &Arc<SqliteLog>, roster: &Roster) -> Readiness {
    let (sql, log, roster) = (sql.clone(), Arc::clone(log), roster.clone());
    Readiness::new(vec![
        (
            "relational_store",
            Box::new(move || {
                let sql = sql.clone();
                Box::pin(async move { sql.get().await.is_ok() })
            }),
        ),
        (
            "room_log",
            Box::new(move || {
                let log = Arc::clone(&log);
                Box::pin(async move { log.tip(RoomId(uuid::Uuid::nil())).await.is_ok() })
            }),
        ),
        (
            "accepting",
            Box::new(move || {
                let draining = roster.is_draining();
                Box::pin(async move { !draining })
            }),
        ),
    ])
}

/// Closes sockets whose sign-in was revoked without this node being told.
async fn obey_revocations(shared: Arc<session::Shared>, interval: Duration) {
    let mut away = false;
    loop {
        tokio::time::sleep(interval).await;
        for sign_ins in shared.roster.sign_ins().chunks(POLL_PAGE) {
            match shared.sign_ins.revoked(sign_ins).await {
                Ok(revoked) => {
                    away = false;
                    for sign_in in revoked {
                        shared.roster.revoke(sign_in);
                    }
                }
                Err(error) if !away => {
                    away = true;
                    tracing::warn!(error = %error, "revoked sign-ins cannot be looked up");
                }
                Err(_) => {}
            }
        }
    }
}

async fn tidy(shared: Arc<session::Shared>) {
    loop {
        tokio::time::sleep(TIDY).await;
        shared.limiter.tidy();
    }
}
