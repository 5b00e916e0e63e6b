//! The pool's connections.

use std::sync::Arc;

use bb8_redis::{
    bb8,
    redis::{
        AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult,
        aio::MultiplexedConnection,
    },
};
use tokio::runtime;

use super::health::Health;

/// What is asked in one go.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    /// One command.
    One(&'a Cmd),
    /// Several, answered together.
    Many(&'a Pipeline),
}

/// One connection.
pub(super) struct Link {
    connection: MultiplexedConnection,
    generation: u64,
    broken: bool,
}

impl Link {
    /// The generation it was opened in.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Asks. A connection on which that failed, or that was not waited for to the end, is not
    /// used again.
    pub(super) async fn send<T: FromRedisValue>(&mut self, request: Request<'_>) -> RedisResult<T> {
        // Stays so if this future is dropped.
        self.broken = true;
        let answer = match request {
            Request::One(cmd) => cmd.query_async(&mut self.connection).await,
            Request::Many(pipeline) => pipeline.query_async(&mut self.connection).await,
        };
        self.broken = answer.as_ref().is_err_and(is_of_the_link);
        answer
    }
}

/// Whether the connection failed, and not what was asked on it.
pub(super) fn is_of_the_link(error: &RedisError) -> bool {
    // An answer of another shape than expected came whole.
    error.is_io_error() || (error.is_unrecoverable_error() && error.kind() != ErrorKind::UnexpectedReturnType)
}

/// Opens connections and tells which ones can still be used.
pub(super) struct Links {
    client: Client,
    config: AsyncConnectionConfig,
    health: Arc<Health>,
    /// Where connections are driven: those of a worker would end with it.
    background: runtime::Handle,
}

impl Links {
    pub(super) fn new(
        client: Client,
        config: AsyncConnectionConfig,
        health: Arc<Health>,
        background: runtime::Handle,
    ) -> Self {
        Self {
            client,
            config,
            health,
            background,
        }
    }
}

impl bb8::ManageConnection for Links {
    type Connection = Link;
    type Error = RedisError;

    async fn connect(&self) -> RedisResult<Link> {
        let generation = self.health.generation();
        let (client, config) = (self.client.clone(), self.config.clone());
        let opening = self
            .background
            .spawn(async move { client.get_multiplexed_async_connection_with_config(&config).await });
        let opened = opening
            .await
            .unwrap_or_else(|stopped| Err((ErrorKind::Client, "the node stops", stopped.to_string()).into()));
        match opened {
            Ok(connection) => Ok(Link {
                connection,
                generation,
                broken: false,
            }),
            Err(error) => {
                // Whoever waits for a connection need not wait until its own deadline.
                self.health.went(&error);
                Err(error)
            }
        }
    }

    async fn is_valid(&self, link: &mut Link) -> RedisResult<()> {
        if link.generation == self.health.generation() {
            Ok(())
        } else {
            Err((ErrorKind::Io, "a connection of its time broke").into())
        }
    }

    fn has_broken(&self, link: &mut Link) -> bool {
        link.broken
    }
}
