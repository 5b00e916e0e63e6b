//! What every broker promises: little, and that for sure.

use std::sync::Arc;

use bytes::Bytes;
use timingle::{
    adapters::{
        memory::{MemoryBroker, MemoryHub},
        nats::{Nats, NatsError},
    },
    config::Nats as NatsConfig,
    ports::{Broker, Heard, Topic},
};
use uuid::Uuid;

use crate::harness::{proxy::Proxy, servers, soon};

fn config(address: std::net::SocketAddr, prefix: &str) -> NatsConfig {
    NatsConfig {
        url: format!("nats://{address}").into(),
        prefix: prefix.to_owned(),
    }
}

fn nats(address: std::net::SocketAddr, prefix: &str) -> Arc<Nats> {
    let runtime = tokio::runtime::Handle::current();
    Arc::new(Nats::open(&config(address, prefix), &runtime).unwrap())
}

fn told(topic: Topic, bytes: &'static [u8]) -> Heard {
    Heard::Told {
        topic,
        bytes: Bytes::from_static(bytes),
    }
}

/// The next thing that was told, but for what asks whether anything is heard at all.
async fn next(broker: &dyn Broker) -> Heard {
    loop {
        match soon("something", broker.hear()).await.unwrap() {
            Heard::Told { bytes, .. } if bytes.is_empty() => {}
            heard => return heard,
        }
    }
}

/// Returns once what is told under `topic` by `teller` is heard by `hearer`.
async fn heard_by(teller: &dyn Broker, hearer: &dyn Broker, topic: Topic) {
    loop {
        teller.tell(topic, Bytes::new());
        let wait = tokio::time::timeout(std::time::Duration::from_millis(50), hearer.hear()).await;
        if let Ok(Some(Heard::Told { topic: heard, .. })) = wait
            && heard == topic
        {
            return;
        }
    }
}

/// `one` and `other` are at one place, `apart` is at another.
async fn every_promise(one: &dyn Broker, other: &dyn Broker, apart: &dyn Broker) {
    let (rooms, feeds) = (Topic::Room(1), Topic::Feed(1));
    for broker in [one, other, apart] {
        assert_eq!(next(broker).await, Heard::Connected);
        broker.listen(rooms);
    }
    soon("each other", heard_by(one, other, rooms)).await;
    soon("each other", heard_by(other, one, rooms)).await;
    soon("itself", heard_by(apart, apart, rooms)).await;

    // What one tells all hear who listen, itself too, and nobody else.
    other.listen(feeds);
    soon("the other", heard_by(one, other, feeds)).await;
    assert!(one.tell(feeds, Bytes::from_static(b"for the other")));
    assert!(one.tell(rooms, Bytes::from_static(b"for both")));
    assert_eq!(next(one).await, told(rooms, b"for both"));
    // In whichever order.
    let both = [next(other).await, next(other).await];
    for wanted in [told(feeds, b"for the other"), told(rooms, b"for both")] {
        assert!(both.contains(&wanted), "{both:?}");
    }

    // Who listens no longer soon hears no more of that topic.
    other.unlisten(feeds);
    let mut silence = 0;
    while silence < 10 {
        one.tell(feeds, Bytes::from_static(b"again"));
        one.tell(rooms, Bytes::from_static(b"end"));
        silence += 1;
        while next(other).await != told(rooms, b"end") {
            silence = 0;
        }
    }

    // A large telling comes whole.
    let large = Bytes::from(vec![7; 512 * 1024]);
    assert!(one.tell(rooms, large.clone()));
    loop {
        match next(other).await {
            Heard::Told { bytes, .. } if bytes == large => break,
            Heard::Told { bytes, .. } => assert_eq!(bytes, &b"end"[..]),
            heard => panic!("{heard:?}"),
        }
    }

    // Too much is dropped, and said to be; the teller never waits for the hearer.
    for no in 0..60_000_u32 {
        let _ = one.tell(rooms, Bytes::copy_from_slice(&no.to_be_bytes()));
        if no.is_multiple_of(64) {
            tokio::task::yield_now().await;
        }
    }
    loop {
        if soon("a loss", other.hear()).await == Some(Heard::Lost) {
            break;
        }
    }
    other.close().await;
    loop {
        if soon("the end", other.hear()).await.is_none() {
            break;
        }
    }
    assert_eq!(soon("the end for good", other.hear()).await, None);

    // Nothing of all that was heard elsewhere.
    apart.tell(rooms, Bytes::from_static(b"alone"));
    assert_eq!(next(apart).await, told(rooms, b"alone"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_in_memory_keeps_every_promise() {
    let hub = MemoryHub::default();
    let (one, other) = (MemoryBroker::joined(&hub), MemoryBroker::joined(&hub));
    every_promise(&one, &other, &MemoryBroker::alone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_over_nats_keeps_every_promise() {
    let address = servers::nats().await;
    let (here, there) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let (one, other, apart) = (nats(address, &here), nats(address, &here), nats(address, &there));
    every_promise(&*one, &*other, &*apart).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_that_is_away_is_connected_once_it_comes_and_again_after_each_loss() {
    let proxy = Proxy::to(servers::nats().await).await;
    proxy.cut();
    let broker = nats(proxy.address(), &Uuid::new_v4().to_string());
    let topic = Topic::Here(3);
    broker.listen(topic);
    assert!(!broker.is_connected());
    assert!(
        !broker.tell(topic, Bytes::from_static(b"early")),
        "nobody would hear it"
    );
    proxy.heal();
    assert_eq!(next(&*broker).await, Heard::Connected);
    soon("itself", heard_by(&*broker, &*broker, topic)).await;
    for round in 0..3 {
        proxy.cut();
        proxy.drop_connections();
        assert_eq!(next(&*broker).await, Heard::Disconnected, "round {round}");
        assert!(!broker.tell(topic, Bytes::from_static(b"lost")));
        proxy.heal();
        assert_eq!(next(&*broker).await, Heard::Connected, "round {round}");
        soon("itself again", heard_by(&*broker, &*broker, topic)).await;
    }
    // A server that keeps the connection and says nothing is away too.
    proxy.stall();
    assert_eq!(next(&*broker).await, Heard::Disconnected);
    proxy.heal();
    assert_eq!(next(&*broker).await, Heard::Connected);
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    let runtime = tokio::runtime::Handle::current();
    for prefix in ["", "a b", "a.", "a.*", "a.>", ".a"] {
        let config = config("127.0.0.1:1".parse().unwrap(), prefix);
        assert!(
            matches!(Nats::open(&config, &runtime), Err(NatsError::Prefix)),
            "{prefix}"
        );
    }
    let config = NatsConfig {
        url: "nats://one:4222,:::".into(),
        prefix: "timingle".into(),
    };
    assert!(matches!(
        Nats::open(&config, &runtime),
        Err(NatsError::Address(_))
    ));
}
