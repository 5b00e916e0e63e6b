use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;

use super::{Closed, Outbox};
use crate::realtime::{
    protocol::{CloseCode, frame},
    told::Progress,
};

const STALL: Duration = Duration::from_secs(10);

#[tokio::test]
async fn everything_arrives_in_order_and_then_the_close_frame() {
    let outbox = Outbox::new(1_000_000);
    let mut expected = Vec::new();
    for n in 0..500_u32 {
        let bytes = Bytes::from(n.to_be_bytes().repeat(50));
        expected.extend_from_slice(&bytes);
        outbox.try_push(bytes).unwrap();
    }
    outbox.close(CloseCode::Shutdown);
    assert_eq!(outbox.try_push(Bytes::from_static(b"late")), Err(Closed));
    expected.extend_from_slice(&frame::close(CloseCode::Shutdown));
    let (near, mut far) = tokio::io::duplex(100);
    let writer = tokio::spawn(async move { outbox.write_to(near, STALL).await });
    let mut read = Vec::new();
    far.read_to_end(&mut read).await.unwrap();
    assert!(read == expected);
    assert_eq!(writer.await.unwrap(), CloseCode::Shutdown);
}

#[tokio::test]
async fn overflow_keeps_the_frame_that_is_half_out_and_says_slow() {
    let outbox = Outbox::new(300);
    let (near, mut far) = tokio::io::duplex(10);
    outbox.try_push(Bytes::from(vec![1; 100])).unwrap();
    let writer = {
        let outbox = outbox.clone();
        tokio::spawn(async move { outbox.write_to(near, STALL).await })
    };
    let mut read = vec![0; 10];
    far.read_exact(&mut read).await.unwrap();
    outbox.try_push(Bytes::from(vec![2; 150])).unwrap();
    assert_eq!(outbox.try_push(Bytes::from(vec![3; 150])), Err(Closed));
    far.read_to_end(&mut read).await.unwrap();
    let mut expected = vec![1; 100];
    expected.extend_from_slice(&frame::close(CloseCode::Slow));
    assert_eq!(read, expected);
    assert_eq!(writer.await.unwrap(), CloseCode::Slow);
}

#[tokio::test]
async fn only_what_the_socket_took_whole_counts_as_told() {
    let (outbox, progress) = (Outbox::new(1_000), Progress::default());
    outbox.report_to(progress.clone());
    for seq in 1..=3 {
        outbox.try_push_through(Bytes::from(vec![0; 100]), seq).unwrap();
    }
    let (near, mut far) = tokio::io::duplex(150);
    let writer = {
        let outbox = outbox.clone();
        tokio::spawn(async move { outbox.write_to(near, STALL).await })
    };
    far.read_exact(&mut [0; 50]).await.unwrap();
    far.read_exact(&mut [0; 50]).await.unwrap();
    drop(far);
    writer.await.unwrap();
    assert!((1..=2).contains(&progress.seq()), "{}", progress.seq());
}

#[tokio::test(start_paused = true)]
async fn socket_that_takes_nothing_is_slow() {
    let outbox = Outbox::new(1_000);
    let (near, _far) = tokio::io::duplex(10);
    outbox.try_push(Bytes::from(vec![1; 100])).unwrap();
    assert_eq!(outbox.write_to(near, STALL).await, CloseCode::Slow);
    assert_eq!((outbox.waiting(), outbox.closed()), (0, Some(CloseCode::Slow)));
}

#[tokio::test(start_paused = true)]
async fn closed_socket_that_takes_nothing_is_not_waited_for_as_long_as_an_open_one() {
    let outbox = Outbox::new(1_000);
    let (near, _far) = tokio::io::duplex(10);
    outbox.try_push(Bytes::from(vec![1; 100])).unwrap();
    let writer = {
        let outbox = outbox.clone();
        tokio::spawn(async move { outbox.write_to(near, 100 * STALL).await })
    };
    tokio::time::sleep(STALL).await;
    outbox.close(CloseCode::Shutdown);
    let ended = tokio::time::timeout(3 * super::CLOSE_TIMEOUT / 2, writer).await;
    assert_eq!(ended.unwrap().unwrap(), CloseCode::Shutdown);
    assert_eq!(outbox.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn closed_socket_that_takes_a_little_now_and_then_is_not_waited_for_for_ever() {
    let outbox = Outbox::new(1_000);
    let (near, mut far) = tokio::io::duplex(1);
    outbox.try_push(Bytes::from(vec![1; 1_000])).unwrap();
    outbox.close(CloseCode::Shutdown);
    let writer = tokio::spawn(async move { outbox.write_to(near, STALL).await });
    let trickle = async {
        loop {
            tokio::time::sleep(super::CLOSE_TIMEOUT / 2).await;
            let _ = far.read_u8().await;
        }
    };
    tokio::select! {
        ended = tokio::time::timeout(2 * super::CLOSE_DEADLINE, writer) => {
            assert_eq!(ended.unwrap().unwrap(), CloseCode::Shutdown);
        }
        () = trickle => {}
    }
}
