//! A TCP proxy that fails on demand.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

/// Bytes passed on at once.
const CHUNK: usize = 16 * 1024;

/// Chunks on their way in one direction. A stalled connection takes this much; then its sender feels it.
const UNDERWAY: usize = 64;

/// How long the server behind may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Answers,
}

/// Stands on a free loopback port in front of a server. It lives in a thread of its own, so it may outlive
/// the runtime of whoever made it. Dropped, it resets its connections and listens no more.
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    counters: Arc<Counters>,
}

/// What happens to the connections.
#[derive(Clone, Copy, Default)]
struct Weather {
    cut: bool,
    stalled: [bool; 2],
    delay: Duration,
    /// Connections of an earlier age are reset.
    age: u64,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    open: AtomicU64,
}

impl Proxy {
    /// A proxy in front of `server`, which passes everything on.
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let (weather, told) = watch::channel(Weather::default());
        let counters = Arc::new(Counters::default());
        let kept = Arc::clone(&counters);
        let (tell, listens) = oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                serve(listener, server, told, kept).await;
            });
        });
        Self {
            address: listens.await.unwrap(),
            weather,
            counters,
        }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets all connections, and new ones as soon as they are made, until [`Self::heal`].
    pub(crate) fn cut(&self) {
        self.weather.send_modify(|weather| weather.cut = true);
    }

    /// Keeps all connections, and takes new ones, but passes nothing on, until [`Self::heal`]. What is sent
    /// meanwhile waits.
    pub(crate) fn stall(&self) {
        self.weather.send_modify(|weather| weather.stalled = [true; 2]);
    }

    /// As [`Self::stall`], one way only: with [`Way::Answers`], the server does what it is asked to, and
    /// nobody hears of it.
    pub(crate) fn stall_one_way(&self, way: Way) {
        self.weather
            .send_modify(|weather| weather.stalled[way as usize] = true);
    }

    /// Everything arrives later by `delay`, in each direction.
    pub(crate) fn slow(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Everything is passed on again: also what waited, and what was slowed down once it is due.
    pub(crate) fn heal(&self) {
        self.weather.send_modify(|weather| {
            *weather = Weather {
                age: weather.age,
                ..Weather::default()
            };
        });
    }

    /// Resets all connections that there are now. What waited in them is lost.
    pub(crate) fn drop_connections(&self) {
        self.weather.send_modify(|weather| weather.age += 1);
    }

    /// Connections that were passed on to the server, so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.counters.accepted.load(Relaxed)
    }

    /// Connections that were reset at once, because of a cut or because the server refused them.
    pub(crate) fn refused(&self) -> u64 {
        self.counters.refused.load(Relaxed)
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> u64 {
        self.counters.open.load(Relaxed)
    }
}

/// Until the [`Proxy`] is dropped.
async fn serve(
    listener: TcpListener,
    server: SocketAddr,
    mut weather: watch::Receiver<Weather>,
    counters: Arc<Counters>,
) {
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted,
            gone = closed(&mut weather) => return gone,
        };
        // Fails where the client has gone already.
        let Ok((client, _)) = client else { continue };
        if weather.borrow().cut {
            counters.refused.fetch_add(1, Relaxed);
            reset(&client);
            continue;
        }
        let (weather, counters) = (weather.clone(), Arc::clone(&counters));
        let age = weather.borrow().age;
        tokio::spawn(async move {
            let Ok(Ok(upstream)) = timeout(CONNECT, TcpStream::connect(server)).await else {
                counters.refused.fetch_add(1, Relaxed);
                reset(&client);
                return;
            };
            counters.accepted.fetch_add(1, Relaxed);
            counters.open.fetch_add(1, Relaxed);
            carry(client, upstream, weather, age).await;
            counters.open.fetch_sub(1, Relaxed);
        });
    }
}

/// Returns once nobody can change the weather any more.
async fn closed(weather: &mut watch::Receiver<Weather>) {
    while weather.changed().await.is_ok() {}
}

/// Its peer will hear that the connection broke, not that it ended.
fn reset(stream: &TcpStream) {
    // Fails where the peer was first.
    let _ = stream.set_zero_linger();
}

/// A client's connection and the one that stands for it. It breaks, unless both ways have ended in order.
struct Line {
    client: TcpStream,
    server: TcpStream,
    in_order: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.in_order {
            reset(&self.client);
            reset(&self.server);
        }
    }
}

/// Carries both ways until both have ended in order, one breaks, or the weather ends it.
async fn carry(client: TcpStream, server: TcpStream, weather: watch::Receiver<Weather>, age: u64) {
    for stream in [&client, &server] {
        // Only the test delays anything. Fails where the peer has gone.
        let _ = stream.set_nodelay(true);
    }
    let mut line = Line {
        client,
        server,
        in_order: false,
    };
    let mut ended = weather.clone();
    let (from_client, to_client) = line.client.split();
    let (from_server, to_server) = line.server.split();
    let both = async {
        let requests = pass(from_client, to_server, Way::Requests, weather.clone());
        let answers = pass(from_server, to_client, Way::Answers, weather.clone());
        tokio::try_join!(requests, answers).is_ok()
    };
    line.in_order = tokio::select! {
        in_order = both => in_order,
        _ = ended.wait_for(|weather| weather.cut || weather.age != age) => false,
    };
}

/// One way, until it ends in order; an error means that it broke.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    way: Way,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let (underway, mut arriving) = mpsc::channel::<(Instant, Bytes)>(UNDERWAY);
    let now = weather.clone();
    let read = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            let length = from.read_buf(&mut buffer).await?;
            let due = Instant::now() + now.borrow().delay;
            // An empty chunk is the end. Nobody takes it where the proxy is gone.
            if underway.send((due, buffer.split().freeze())).await.is_err() || length == 0 {
                return Ok::<(), io::Error>(());
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = arriving.recv().await {
            sleep_until(due).await;
            if weather
                .wait_for(|weather| !weather.stalled[way as usize])
                .await
                .is_err()
            {
                break;
            }
            if chunk.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&chunk).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(|_| ())
}
