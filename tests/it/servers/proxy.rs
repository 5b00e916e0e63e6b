//! The proxy that fails on demand, in front of a server that says everything back.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::harness::{
    proxy::{Proxy, Way},
    soon, until,
};

/// How long nothing must come before it is believed that nothing comes.
const SILENCE: Duration = Duration::from_millis(300);

/// Says everything back, and tells what it heard.
async fn echo() -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    let _ = tell.send(buffer[..length].to_vec());
                    if stream.write_all(&buffer[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, told)
}

async fn say(stream: &mut TcpStream, words: &[u8]) {
    stream.write_all(words).await.unwrap();
}

async fn hear(stream: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut words = vec![0; length];
    soon("the echo", stream.read_exact(&mut words)).await?;
    Ok(words)
}

async fn hear_nothing(stream: &mut TcpStream) {
    assert!(
        timeout(SILENCE, stream.read_u8()).await.is_err(),
        "something came"
    );
}

async fn is_reset(stream: &mut TcpStream) {
    let end = soon("the end", stream.read_u8()).await.unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
}

/// The reset may come before `connect` has looked.
async fn is_reset_at_once(address: SocketAddr) {
    match TcpStream::connect(address).await {
        Ok(mut stream) => is_reset(&mut stream).await,
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}

async fn open(proxy: &Proxy, count: u64) {
    until("the count of open connections", || async {
        (proxy.open() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn everything_passes_both_ways_and_an_end_is_an_end() {
    let (server, _told) = echo().await;
    let proxy = Proxy::to(server).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let words: Vec<u8> = (0..4_000_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    let (mut read, mut write) = client.split();
    let mut heard = Vec::new();
    let (sent, received) = soon("four megabytes", async {
        tokio::join!(
            async {
                write.write_all(&words).await?;
                write.shutdown().await
            },
            read.read_to_end(&mut heard)
        )
    })
    .await;
    sent.unwrap();
    received.unwrap();
    assert!(heard == words, "{} of {} bytes", heard.len(), words.len());
    open(&proxy, 0).await;
    assert_eq!((proxy.accepted(), proxy.refused()), (1, 0));
}

#[tokio::test]
async fn a_cut_resets_what_is_and_what_comes_until_it_heals() {
    let (server, _told) = echo().await;
    let proxy = Proxy::to(server).await;
    let mut before = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut before, b"one").await;
    assert_eq!(hear(&mut before, 3).await.unwrap(), b"one");
    proxy.cut();
    is_reset(&mut before).await;
    is_reset_at_once(proxy.address()).await;
    assert_eq!((proxy.accepted(), proxy.refused()), (1, 1));
    open(&proxy, 0).await;
    proxy.heal();
    let mut after = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut after, b"two").await;
    assert_eq!(hear(&mut after, 3).await.unwrap(), b"two");
}

#[tokio::test]
async fn a_stall_keeps_what_is_said_until_it_heals() {
    let (server, mut told) = echo().await;
    let proxy = Proxy::to(server).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut client, b"one").await;
    assert_eq!(hear(&mut client, 3).await.unwrap(), b"one");
    assert_eq!(told.recv().await.unwrap(), b"one");
    proxy.stall();
    say(&mut client, b"two").await;
    hear_nothing(&mut client).await;
    assert!(told.try_recv().is_err());
    let mut another = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut another, b"three").await;
    hear_nothing(&mut another).await;
    proxy.heal();
    assert_eq!(hear(&mut client, 3).await.unwrap(), b"two");
    assert_eq!(hear(&mut another, 5).await.unwrap(), b"three");
}

#[tokio::test]
async fn stalled_answers_hide_what_the_server_did() {
    let (server, mut told) = echo().await;
    let proxy = Proxy::to(server).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.stall_one_way(Way::Answers);
    say(&mut client, b"one").await;
    assert_eq!(soon("what the server heard", told.recv()).await.unwrap(), b"one");
    hear_nothing(&mut client).await;
    // Whatever waited goes with the connection.
    proxy.drop_connections();
    is_reset(&mut client).await;
    proxy.heal();
    proxy.stall_one_way(Way::Requests);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut client, b"two").await;
    hear_nothing(&mut client).await;
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_slow_way_delays_and_does_not_narrow() {
    let (server, _told) = echo().await;
    let proxy = Proxy::to(server).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.slow(Duration::from_millis(100));
    let start = Instant::now();
    // Many chunks: they travel side by side.
    let words = vec![7; 400_000];
    say(&mut client, &words).await;
    assert_eq!(hear(&mut client, words.len()).await.unwrap(), words);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(
        took < Duration::from_millis(1500),
        "{took:?}: one chunk after the other"
    );
}

#[tokio::test]
async fn dropped_connections_may_come_back_at_once() {
    let (server, _told) = echo().await;
    let proxy = Proxy::to(server).await;
    let mut first = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut first, b"one").await;
    assert_eq!(hear(&mut first, 3).await.unwrap(), b"one");
    proxy.drop_connections();
    is_reset(&mut first).await;
    let mut second = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut second, b"two").await;
    assert_eq!(hear(&mut second, 3).await.unwrap(), b"two");
    assert_eq!((proxy.accepted(), proxy.refused()), (2, 0));
    let address = proxy.address();
    drop(proxy);
    is_reset(&mut second).await;
    until("the end of the proxy", || async move {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_down_looks_like_a_cut() {
    let nobody = TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = Proxy::to(nobody).await;
    is_reset_at_once(proxy.address()).await;
    assert_eq!((proxy.accepted(), proxy.refused()), (0, 1));
}

#[test]
fn it_outlives_the_runtime_that_made_it() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let servers = runtime();
    let (server, _told) = servers.block_on(echo());
    let proxy = runtime().block_on(Proxy::to(server));
    runtime().block_on(async {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut client, b"one").await;
        assert_eq!(hear(&mut client, 3).await.unwrap(), b"one");
    });
}
