//! What one message costs between the room and the sockets.
//!
//! `cargo bench --bench fanout`. An iteration ends only when every outbox has
//! been written out, so it cannot measure the producer alone.

#![expect(clippy::expect_used, reason = "a benchmark may panic")]

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use timingle::{
    domain::{
        chain::Tip,
        entry::{Draft, Entry, Kind},
        id::{EventId, RoomId, UserId},
        time::Micros,
    },
    i18n::Language,
    realtime::{
        outbox::Outbox,
        protocol::{CloseCode, v2},
    },
};
use uuid::Uuid;

fn message() -> (Tip, Entry) {
    let mut tip = Tip::empty(RoomId(Uuid::from_u128(1)));
    let draft = Draft {
        author: Some(UserId(7)),
        kind: Kind::Message,
        key: Uuid::from_u128(2),
        reply_to: None,
        target: None,
        body: Bytes::from(format!("{{\"text\":\"{}\"}}", "가".repeat(60))),
    };
    let entry = tip.seal(draft, Micros(1_790_000_000_000_000), [3; 16]);
    (tip, entry)
}

fn encoded(tip: &Tip, entry: &Entry) -> Bytes {
    let style = v2::EntryStyle {
        language: Language::Ko,
        name_of: &|_| None,
    };
    v2::entries_push(EventId(9), &[v2::entry(entry, &style)], tip.head)
}

/// One message encoded once, queued for so many sockets, and written out.
fn fanout(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (tip, entry) = message();
    let mut group = criterion.benchmark_group("fanout");
    for sockets in [1_u64, 100, 1_000, 10_000] {
        group.throughput(Throughput::Elements(sockets));
        group.bench_with_input(
            BenchmarkId::from_parameter(sockets),
            &sockets,
            |bencher, &sockets| {
                bencher.to_async(&runtime).iter_batched(
                    || (0..sockets).map(|_| Outbox::new(1 << 20)).collect::<Vec<_>>(),
                    |outboxes| {
                        let frame = encoded(&tip, &entry);
                        async move {
                            for outbox in &outboxes {
                                let _ = outbox.try_push(frame.clone());
                                outbox.close(CloseCode::Normal);
                            }
                            for outbox in &outboxes {
                                black_box(outbox.write_to(tokio::io::sink(), Duration::from_secs(1)).await);
                            }
                        }
                    },
                    criterion::BatchSize::LargeInput,
                );
            },
        );
    }
    group.finish();
}

/// The parts of one publish that need no I/O.
fn publish(criterion: &mut Criterion) {
    let text = format!(
        r#"{{"id":7,"publish":{{"room":9,"key":"{}","after":41,"body":{{"text":"{}"}}}}}}"#,
        Uuid::from_u128(2),
        "가".repeat(60)
    );
    let (tip, entry) = message();
    let mut group = criterion.benchmark_group("publish");
    group.bench_function("decode", |bencher| bencher.iter(|| v2::decode(black_box(&text))));
    group.bench_function("seal", |bencher| bencher.iter(message));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| encoded(black_box(&tip), black_box(&entry)));
    });
    group.finish();
}

criterion_group!(benches, fanout, publish);
criterion_main!(benches);
