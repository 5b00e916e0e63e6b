//! Thousands of random frames.

use std::sync::Arc;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use timingle::app::Overrides;

use super::raw_socket;
use crate::harness::{
    TestApp, User,
    log::Tricks,
    raw::{frame, header, opcode},
    socket::Ended,
};

/// Something that may look like a frame.
fn noise(rng: &mut StdRng, room: i64) -> Vec<u8> {
    let words = [
        "id", "join", "publish", "history", "leave", "auth", "rooms", "room", "key", "after", "body", "text",
    ];
    let word = |rng: &mut StdRng| words[rng.random_range(0..words.len())];
    let payload: Vec<u8> = match rng.random_range(0..5) {
        0 => (0..rng.random_range(0..300)).map(|_| rng.random()).collect(),
        1 => {
            let key = uuid::Uuid::from_u128(rng.random_range(0..500));
            let after = rng.random_range(0..5);
            let mut command = json!({ "id": rng.random_range(1..9), "publish":
                { "room": room, "key": key, "after": after, "body": { "text": word(rng) } } })
            .to_string()
            .into_bytes();
            // Whole, or with a byte changed.
            if rng.random() {
                let place = rng.random_range(0..command.len());
                command[place] = rng.random();
            }
            command
        }
        2 => json!({ "id": rng.random_range(-2..9), word(rng): { word(rng): rng.random::<i32>(), "room": room } })
            .to_string()
            .into_bytes(),
        3 => {
            let rooms = json!([{ "room": room, "limit": rng.random_range(0..500) }, { "room": rng.random::<u32>() }]);
            json!({ "id": 3, word(rng): { "rooms": rooms, "room": room } }).to_string().into_bytes()
        }
        _ => word(rng).repeat(rng.random_range(0..50)).into_bytes(),
    };
    match rng.random_range(0..80) {
        0 => payload,
        1 => header(
            rng.random(),
            rng.random_range(0..16),
            rng.random_range(0..200_000),
        ),
        2 => [&[rng.random(), rng.random()], &payload[..]].concat(),
        3..6 => frame(
            rng.random(),
            [0, 1, 1, 2, 8, 9, 10][rng.random_range(0..7)],
            &payload,
        ),
        _ => frame(true, opcode::TEXT, &payload),
    }
}

#[tokio::test]
async fn thousands_of_random_frames_leave_the_server_serving_and_the_record_whole() {
    let seed: u64 = std::env::var("TIMINGLE_SEED")
        .ok()
        .map_or_else(rand::random, |seed| seed.parse().unwrap());
    eprintln!("TIMINGLE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let change = |config: &mut timingle::config::Config| {
        config.limits.publishes_per_s = 100_000;
        config.limits.publish_burst = 100_000;
        config.limits.sockets_per_user = 1_000;
    };
    let tricks = Tricks::default();
    let app = TestApp::start(Arc::new(tempfile::tempdir().unwrap()), change, tricks.overrides()).await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut witness = ada.connect().await;
    witness.join(room).await;
    let starts = tricks.tails_read();
    let (mut frames, mut sockets) = (0, 0);
    while frames < 4_000 {
        sockets += 1;
        let mut socket = raw_socket(&ada).await;
        socket
            .text(&json!({ "id": 9, "join": { "rooms": [{ "room": room }] } }).to_string())
            .await;
        for _ in 0..200 {
            frames += 1;
            let bytes = noise(&mut rng, room);
            if !socket.try_write(&bytes).await {
                break;
            }
            // The socket is read now and then, and left when it was closed.
            if rng.random_range(0..8) == 0
                && let Ok(ended) =
                    tokio::time::timeout(std::time::Duration::from_millis(2), socket.end()).await
            {
                assert_ne!(ended, Ended::Closed(1011), "our fault, says the server");
                break;
            }
        }
    }
    eprintln!("{frames} frames on {sockets} sockets");
    let said = witness.publish(room, "still here").await;
    assert!(said["publish"].is_object(), "{said}");
    assert_eq!(tricks.tails_read(), starts, "a room fell and was built again");
    witness.copy(room).assert_whole();
    let copy = witness.copy(room).clone();
    assert!(
        copy.texts().len() > 20,
        "hardly anything of the noise was a message: {:?}",
        copy.texts()
    );
    assert_eq!(witness.whole_record(room).await.entries, copy.entries);

    // What it left on disk opens again, and is the same.
    let app = TestApp::start(app.stop().await, |_| {}, Overrides::default()).await;
    let ada = User::sign_in(app.address, "Ada", &ada.phone).await;
    assert_eq!(ada.connect().await.whole_record(room).await.entries, copy.entries);
}
