//! The composition root: the only place that knows every concrete type.
//!
//! - [`App`]: a server, built and then run; `serve` and every test build the same one.
//! - `engines`: the stores and services that the configuration names.
//! - `tools`: what the other subcommands do with the stores.

mod background;
pub mod copy;
mod departures;
mod due;
mod engines;
mod sign_ins;
mod stores;
mod tools;

use std::{
    io,
    net::{SocketAddr, TcpListener},
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
use tokio::{runtime, task::JoinHandle, time::timeout};

pub use tools::{create_keyspace, export, grant, migrate, repair, serve};

use self::{engines::Engines, sign_ins::AuthSignIns};
use crate::{
    adapters::{sms::HttpSender, terminal::TerminalSender},
    config::Config,
    domain::time::Clock,
    http::{self, Readiness},
    ports::{Broker, CodeSender, RoomLog},
    realtime::{
        Bridge, Registry, Roster, limiter::PublishLimiter, presence::Presences, protocol::CloseCode, session,
        upgrade::Upgrades,
    },
    service::{
        account::Accounts,
        auth::{Auth, AuthParts},
        events::Events,
        export::Exports,
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

/// Puts something around the log.
pub type WrapLog = Box<dyn FnOnce(Arc<dyn RoomLog>) -> Arc<dyn RoomLog> + Send>;

/// Puts something around what carries between nodes.
pub type WrapBroker = Box<dyn FnOnce(Arc<dyn Broker>) -> Arc<dyn Broker> + Send>;

/// What a test may put in the place of the real thing, because the real one
/// cannot be brought to it: a clock that steps, a log that fails on demand.
pub struct Overrides {
    /// The wall clock.
    pub clock: Clock,
    /// Stands around the log.
    pub wrap_log: WrapLog,
    /// Stands around what carries between nodes.
    pub wrap_broker: WrapBroker,
    /// Brings one-time codes; without one what the configuration says.
    pub sender: Option<Arc<dyn CodeSender>>,
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            wrap_log: Box::new(|log| log),
            wrap_broker: Box::new(|broker| broker),
            sender: None,
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
    bridge: Bridge,
    shared: Arc<session::Shared>,
    parts: http::Parts,
    tasks: Vec<JoinHandle<()>>,
    arbiters: Vec<actix::Arbiter>,
    engines: Engines,
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
        crate::metrics::install().context("the metrics cannot be set up")?;
        let Overrides {
            clock,
            wrap_log,
            wrap_broker,
            sender,
        } = overrides;

        let mut engines = Engines::open(&mut config, &clock, background).await?;
        let sql = engines.sql.clone();

        let (listener, address) = listen(&mut config)?;
        let arbiters: Vec<actix::Arbiter> = (0..threads(config.room.threads))
            .map(|_| actix::Arbiter::new())
            .collect();
        let room_log = wrap_log(Arc::clone(&engines.log));
        let bridge = Bridge::new(wrap_broker(Arc::clone(&engines.broker)));
        let roster = Roster::bridged(
            config.limits.sockets_per_user,
            config.limits.v1_sockets_per_user,
            bridge.clone(),
        );
        let presences = Presences::new(roster.clone(), Arc::clone(&engines.presence), clock.clone());
        let registry = Registry::new(
            Arc::clone(&room_log),
            Arc::new(SqlFacts::new(sql.clone())),
            clock.clone(),
            arbiters.iter().map(actix::Arbiter::handle).collect(),
            background.clone(),
            presences.clone(),
            &config,
        );
        let auth = {
            let roster = roster.clone();
            Auth::new(
                config.auth.clone(),
                &config.limits,
                AuthParts {
                    sql: sql.clone(),
                    codes: Arc::clone(&engines.codes),
                    counters: Arc::clone(&engines.counters),
                    sender: sender.map_or_else(|| code_sender(&config), Ok)?,
                    on_revoked: Arc::new(move |sign_in| roster.revoke(sign_in)),
                    clock: clock.clone(),
                },
            )
        };
        if auth.has_review_account() {
            tracing::warn!("auth.review_phone is set: one account signs in with a code that never changes");
        }
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
        let events = Events::new(sql.clone(), clock.clone()).of_at_most(config.limits.participants);
        let accounts = {
            let roster = roster.clone();
            let close = Arc::new(move |user| roster.revoke_user(user));
            Accounts::new(sql.clone(), events.clone(), clock.clone(), close)
        };
        let parts = http::Parts {
            settings: http::Settings::new(&config),
            auth,
            accounts,
            events,
            invites: Invites::new(
                sql.clone(),
                clock.clone(),
                config.limits.participants,
                &config.server.public_url,
            ),
            exports: Exports::new(room_log, Arc::new(SqlFacts::new(sql.clone()))),
            registry: registry.clone(),
            readiness: readiness(engines.take_checks(), &roster).with_helpers(engines.take_helpers()),
        };
        let tasks = background::start(
            background, &config, &parts, &shared, presences, &bridge, &sql, &clock,
        );
        Ok(Self {
            config,
            address,
            listener,
            registry,
            roster,
            bridge,
            shared,
            parts,
            tasks,
            arbiters,
            engines,
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

    /// Where the data lies: a directory, or the engines.
    pub fn data(&self) -> String {
        self.engines.place.clone()
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
        self.bridge.leave();
        for task in &self.tasks {
            task.abort();
        }
        self.engines.close().await;
        for arbiter in self.arbiters {
            arbiter.stop();
        }
        tracing::info!("stopped");
    }
}

/// Brings one-time codes as `config` says: through a service, or to the terminal.
fn code_sender(config: &Config) -> anyhow::Result<Arc<dyn CodeSender>> {
    if config.sms.url.is_empty() {
        return Ok(Arc::new(TerminalSender::stdout()));
    }
    Ok(Arc::new(HttpSender::new(&config.sms)?))
}

/// The listener that `config` asks for; a port that was in use by a server just killed can be
/// taken at once. Links begin with where it listens, unless `config` says otherwise.
fn listen(config: &mut Config) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let wanted = SocketAddr::new(config.server.host, config.server.port);
    let listener = TcpListener::bind(wanted).with_context(|| format!("cannot listen on {wanted}"))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    if config.server.public_url.is_empty() {
        config.server.public_url = format!("http://localhost:{}", address.port());
    }
    Ok((listener, address))
}

fn threads(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    }
}

/// What `/readyz` asks: `engines`, and whether this node still takes anybody in.
fn readiness(mut engines: Vec<http::Check>, roster: &Roster) -> Readiness {
    let roster = roster.clone();
    engines.push((
        "accepting",
        Box::new(move || {
            let draining = roster.is_draining();
            Box::pin(async move { !draining })
        }),
    ));
    Readiness::new(engines)
}
