//! One Redis server, asked within a deadline, and not asked while it is known to be away.

use std::{fmt, sync::Arc, time::Duration};

use bb8_redis::{
    bb8,
    redis::{
        AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo as _,
        Pipeline, RedisConnectionInfo, RedisError, cmd,
    },
};
use rand::Rng as _;
use secrecy::ExposeSecret as _;
use tokio::{runtime, task::JoinHandle, time::timeout};

use super::{
    health::Health,
    links::{Link, Links, Request, is_of_the_link},
};
use crate::config;

/// The first pause between two looks at a server that is away; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Connections that nobody needed for so long are closed.
const IDLE_FOR: Duration = Duration::from_secs(300);
/// How long the mark of a look stays.
const PROBE_LIFE_MS: u64 = 10_000;

/// The configuration names no Redis server.
#[derive(Debug, thiserror::Error)]
#[error("the address of the redis server makes no sense")]
pub struct RedisConfigError(#[source] RedisError);

/// The server did not answer, or refused what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RedisAway {
    /// It was away a moment ago and has not been seen since.
    #[error("redis is away")]
    Known,
    /// No answer in time.
    #[error("redis did not answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// The connection failed, or the server refused.
    #[error(transparent)]
    Failed(#[from] RedisError),
}

/// A Redis server. Clones share its connections.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    pool: bb8::Pool<Links>,
    health: Arc<Health>,
    timeout: Duration,
    prefix: String,
}

/// Whether asking twice is the same as asking once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Harmless,
    Wrong,
}

impl Redis {
    /// Returns at once, connected or not; call within a runtime. Connections are opened when
    /// they are needed and live on `background`, where a task looks for the server whenever
    /// it is away; that task runs until it is aborted.
    ///
    /// # Errors
    /// The configuration makes no sense.
    pub fn open(
        config: &config::Redis,
        background: &runtime::Handle,
    ) -> Result<(Self, JoinHandle<()>), RedisConfigError> {
        let mut login = RedisConnectionInfo::default();
        if !config.password.expose_secret().is_empty() {
            login = login.set_password(config.password.expose_secret());
        }
        let address = ConnectionAddr::Tcp(config.host.clone(), config.port);
        let info = address.into_connection_info().map_err(RedisConfigError)?;
        let client = Client::open(info.set_redis_settings(login)).map_err(RedisConfigError)?;
        let patience = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.timeout))
            .set_response_timeout(Some(config.timeout));
        let health = Arc::new(Health::new());
        let links = Links::new(client, patience, Arc::clone(&health), background.clone());
        let pool = {
            // The pool's own task belongs there as well.
            let _entered = background.enter();
            bb8::Pool::builder()
                .max_size(config.pool)
                .connection_timeout(config.timeout)
                // Whoever needs one tries again; see `Health::went`.
                .retry_connection(false)
                .idle_timeout(Some(IDLE_FOR))
                .build_unchecked(links)
        };
        let redis = Self {
            shared: Arc::new(Shared {
                pool,
                health,
                timeout: config.timeout,
                prefix: config.prefix.clone(),
            }),
        };
        let task = background.spawn(redis.clone().watch());
        Ok((redis, task))
    }

    /// The key `name` of this installation.
    pub(super) fn key(&self, name: impl fmt::Display) -> String {
        format!("{}{name}", self.shared.prefix)
    }

    /// Whether the server can be written to now. Takes `redis.timeout` at most, twice that
    /// if it also has to be connected to.
    pub async fn answers(&self) -> bool {
        self.look().await.is_ok()
    }

    /// Returns once the server answers, as far as this node knows.
    pub(super) async fn back(&self) {
        self.shared.health.back().await;
    }

    /// Asks what may be asked twice: if the connection breaks, another one is tried.
    ///
    /// # Errors
    /// See [`RedisAway`]; whether the server did it is not known then.
    pub(super) async fn ask<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, RedisAway> {
        self.within(Request::One(cmd), Repeat::Harmless).await
    }

    /// Asks what must not be done twice.
    ///
    /// # Errors
    /// As [`Redis::ask`].
    pub(super) async fn ask_once<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, RedisAway> {
        self.within(Request::One(cmd), Repeat::Wrong).await
    }

    /// Asks several things that may be asked twice, in one go.
    ///
    /// # Errors
    /// As [`Redis::ask`].
    pub(super) async fn ask_all<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, RedisAway> {
        self.within(Request::Many(pipeline), Repeat::Harmless).await
    }

    async fn within<T: FromRedisValue>(&self, request: Request<'_>, repeat: Repeat) -> Result<T, RedisAway> {
        let Shared { health, timeout, .. } = &*self.shared;
        if !health.answers() {
            return Err(RedisAway::Known);
        }
        let generation = health.generation();
        let asking = async {
            tokio::select! {
                // Nobody waits for a connection to a server that was just found to be away.
                () = health.gone() => Err(RedisAway::Known),
                answer = self.twice(request, repeat) => answer,
            }
        };
        let answer = tokio::time::timeout(*timeout, asking).await;
        let answer = answer.unwrap_or(Err(RedisAway::Late(*timeout)));
        match &answer {
            Err(late @ RedisAway::Late(_)) => {
                health.broke(generation);
                health.went(late);
            }
            Err(RedisAway::Failed(error)) if is_of_the_link(error) => health.went(error),
            Ok(_) | Err(_) => {}
        }
        answer
    }

    /// A server that was restarted leaves connections that break at their next use.
    async fn twice<T: FromRedisValue>(&self, request: Request<'_>, repeat: Repeat) -> Result<T, RedisAway> {
        let mut link = self.link().await?;
        let first = match repeat {
            Repeat::Harmless => self.once(&mut link, request).await,
            Repeat::Wrong => match self.once::<()>(&mut link, Request::One(&cmd("PING"))).await {
                Ok(()) => return Ok(self.once(&mut link, request).await?),
                Err(error) => Err(error),
            },
        };
        match first {
            Err(error) if is_of_the_link(&error) => {
                drop(link);
                Ok(self.once(&mut *self.link().await?, request).await?)
            }
            other => Ok(other?),
        }
    }

    async fn link(&self) -> Result<bb8::PooledConnection<'_, Links>, RedisAway> {
        let link = self.shared.pool.get().await;
        link.map_err(|error| match error {
            bb8::RunError::User(error) => RedisAway::Failed(error),
            bb8::RunError::TimedOut => RedisAway::Late(self.shared.timeout),
        })
    }

    async fn once<T: FromRedisValue>(&self, link: &mut Link, request: Request<'_>) -> Result<T, RedisError> {
        let answer = link.send(request).await;
        if answer.as_ref().is_err_and(is_of_the_link) {
            self.shared.health.broke(link.generation());
        }
        answer
    }

    /// Looks for the server while it is away, for ever.
    async fn watch(self) {
        // The first look of all: nobody has asked yet.
        if let Err(error) = self.look().await {
            self.shared.health.went(&error);
        }
        loop {
            self.shared.health.gone().await;
            let mut pause = FIRST_PAUSE;
            while self.look().await.is_err() {
                let jittered = rand::rng().random_range(pause / 2..=pause);
                tokio::time::sleep(jittered).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            self.shared.health.came();
            // A server that answers looks and nothing else must not be asked without a pause.
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    }

    /// Writes, on a connection of its own: a replica, or one without room, is of no use.
    async fn look(&self) -> Result<(), RedisAway> {
        let Shared {
            pool,
            timeout: patience,
            ..
        } = &*self.shared;
        let mut link: Link = timeout(*patience, pool.dedicated_connection())
            .await
            .map_err(|_| RedisAway::Late(*patience))??;
        let mut set = cmd("SET");
        set.arg(self.key("probe")).arg(1).arg("PX").arg(PROBE_LIFE_MS);
        timeout(*patience, link.send::<()>(Request::One(&set)))
            .await
            .map_err(|_| RedisAway::Late(*patience))??;
        Ok(())
    }
}
