//! What people notice while Redis is away, stalled or wiped: nodes of the production profile.

use std::{net::SocketAddr, time::Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use timingle::{app::Overrides, config::Config};

use super::redis_cli;
use crate::harness::{
    Socket, TestApp, User,
    api::Sends as _,
    cluster::Stage,
    proxy::Proxy,
    servers::{self, Engine, Private},
    until,
};

/// A number that gets no message, and its code.
const NUMBER: &str = "010-7391-4826";
const CODE: &str = "731946";
/// Requests of a user per minute.
const REQUESTS: usize = 20;

fn with_codes(config: &mut Config) {
    NUMBER.clone_into(&mut config.auth.review_phone);
    config.auth.review_code = CODE.into();
    config.limits.requests_per_user = u32::try_from(REQUESTS).unwrap();
    config.limits.codes_per_number = 1_000;
    config.limits.codes_per_address = 1_000;
}

async fn node(stage: &Stage) -> TestApp {
    stage.node_with(with_codes, Overrides::default()).await
}

/// Status, `Retry-After`, body.
type Answered = (StatusCode, Option<String>, Value);

async fn post(node: &TestApp, path: &str, body: Value) -> Answered {
    let answer = reqwest::Client::new()
        .post(format!("http://{}/api/v1/auth/phone/{path}", node.address))
        .json(&body)
        .sent()
        .await
        .unwrap();
    let status = answer.status();
    let retry_after = answer.headers().get("retry-after");
    let retry_after = retry_after.map(|value| value.to_str().unwrap().to_owned());
    (status, retry_after, answer.json().await.unwrap())
}

async fn ask_for_code(node: &TestApp) -> Answered {
    post(node, "send", json!({ "phone": NUMBER })).await
}

async fn verify(node: &TestApp, sent: &Value) -> Answered {
    let body = json!({ "verification_id": sent["verification_id"], "code": CODE });
    post(node, "verify", body).await
}

/// Signs in by a code that is asked for on one node and shown to another.
async fn code_works(nodes: [&TestApp; 2]) -> Option<()> {
    let (status, _, sent) = ask_for_code(nodes[0]).await;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    assert_eq!(status, StatusCode::OK, "{sent}");
    let (status, _, signed_in) = verify(nodes[1], &sent).await;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    assert!(status.is_success(), "{signed_in}");
    let (status, _, again) = verify(nodes[0], &sent).await;
    assert!(!status.is_success(), "a code counts once: {again}");
    Some(())
}

fn assert_unavailable((status, retry_after, body): &Answered) {
    assert_eq!(*status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert_eq!(body["code"], "UNAVAILABLE", "{body}");
    assert!(retry_after.is_some(), "{body}");
}

async fn readyz(address: SocketAddr) -> (StatusCode, Value) {
    let answer = reqwest::get(format!("http://{address}/readyz")).await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

/// How many requests somebody new may make, first on one node, then on the other.
async fn allowances(nodes: [&TestApp; 2], name: &str) -> [usize; 2] {
    let user = nodes[0].user(name).await;
    let mut allowances = [0; 2];
    for (node, allowed) in nodes.into_iter().zip(&mut allowances) {
        let user = user.at(node.address);
        while *allowed <= REQUESTS {
            let (status, body) = user.call(Method::GET, "/users/me", None).await;
            if status == StatusCode::TOO_MANY_REQUESTS {
                assert_eq!(body["code"], "RATE_LIMIT_EXCEEDED", "{body}");
                break;
            }
            assert_eq!(status, StatusCode::OK, "{body}");
            *allowed += 1;
        }
    }
    allowances
}

/// One comes back every three seconds: on a slow machine there may be a few more.
fn assert_about(allowances: [usize; 2], expected: [usize; 2]) {
    for (allowed, expected) in allowances.into_iter().zip(expected) {
        assert!((expected..=expected + 2).contains(&allowed), "{allowances:?}");
    }
}

async fn online(socket: &mut Socket, room: i64, user: &User) -> bool {
    let reply = socket.ask("presence", json!({ "room": room })).await;
    let users = reply["presence"]["users"].as_array().unwrap();
    let user = users.iter().find(|one| one["id"] == user.id).unwrap();
    user["online"].as_bool().unwrap()
}

async fn until_online(socket: &mut Socket, room: i64, user: &User) {
    let begun = Instant::now();
    while !online(socket, room, user).await {
        assert!(begun.elapsed().as_secs() < 20, "not seen on the other node");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn while_redis_stalls_codes_are_refused_limits_count_per_node_and_the_talk_goes_on() {
    let proxy = Proxy::to(servers::redis().await).await;
    let mut stage = Stage::new().await;
    stage.places.redis = proxy.address();
    let (one, two) = (node(&stage).await, node(&stage).await);
    let nodes = [&one, &two];
    let (ada, min) = (one.user("Ada").await, one.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let mut at_one = ada.connect().await;
    at_one.join(room).await;
    let mut at_two = min.at(two.address).connect().await;
    at_two.join(room).await;
    let mut beside = min.connect().await;
    beside.join(room).await;
    beside.close().await;
    until("a code", || code_works(nodes)).await;
    assert_about(allowances(nodes, "Eve").await, [REQUESTS, 0]);
    until_online(&mut at_one, room, &min).await;
    assert_eq!(
        readyz(one.address).await,
        (StatusCode::OK, json!({ "status": "ready" }))
    );

    proxy.stall();
    assert_unavailable(&ask_for_code(&one).await);
    assert_unavailable(&verify(&one, &json!({ "verification_id": uuid::Uuid::new_v4() })).await);
    let begun = Instant::now();
    assert_about(allowances(nodes, "Kim").await, [REQUESTS, REQUESTS]);
    let published = at_one.publish(room, "Redis stalls").await;
    assert_eq!(published["publish"]["room"], room, "{published}");
    eprintln!(
        "43 requests and a message with a stalled Redis: {:?}",
        begun.elapsed()
    );
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    // Only by the sockets of this node; no wrong answer of who is seen.
    assert!(online(&mut at_one, room, &ada).await);
    let (status, body) = readyz(one.address).await;
    assert_eq!(
        status,
        StatusCode::OK,
        "all nodes would leave the balancer at once: {body}"
    );
    assert_eq!(body["failing"], json!(["redis"]));

    proxy.heal();
    until("a code", || code_works(nodes)).await;
    until_online(&mut at_one, room, &min).await;
    until("counting together", || async {
        let allowances = allowances(nodes, "Joe").await;
        (allowances[1] <= 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_was_wiped_or_killed_gives_no_wrong_answer_and_is_used_again() {
    let redis = Private::redis().await;
    let mut stage = Stage::new().await;
    stage.places.redis = redis.address();
    let (one, two) = (node(&stage).await, node(&stage).await);
    let nodes = [&one, &two];
    let (ada, min) = (one.user("Ada").await, one.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let mut at_one = ada.connect().await;
    at_one.join(room).await;
    let _at_two = min.at(two.address).connect().await;
    until_online(&mut at_one, room, &min).await;
    assert_about(allowances(nodes, "Eve").await, [REQUESTS, 0]);

    let (status, _, pending) = ask_for_code(&one).await;
    assert_eq!(status, StatusCode::OK, "{pending}");
    redis_cli(redis.address(), &["FLUSHALL"]).await;
    let (status, _, gone) = verify(&two, &pending).await;
    assert_eq!(gone["code"], "AUTH_PHONE_CODE_EXPIRED", "{status} {gone}");
    assert_eq!(code_works(nodes).await, Some(()), "it is wiped, not away");
    until_online(&mut at_one, room, &min).await;
    let published = at_one.publish(room, "Redis was wiped").await;
    assert_eq!(published["publish"]["room"], room, "{published}");

    redis.kill().await;
    assert_unavailable(&ask_for_code(&one).await);
    assert_unavailable(&ask_for_code(&two).await);
    assert_about(allowances(nodes, "Kim").await, [REQUESTS, REQUESTS]);
    assert!(
        !online(&mut at_one, room, &min).await,
        "nothing is known of other nodes"
    );
    let published = at_one.publish(room, "Redis is away").await;
    assert_eq!(published["publish"]["room"], room, "{published}");
    let live = reqwest::get(format!("http://{}/livez", one.address))
        .await
        .unwrap();
    assert_eq!(live.status(), StatusCode::OK);

    redis.start().await;
    until("a code", || code_works(nodes)).await;
    until_online(&mut at_one, room, &min).await;
}

#[tokio::test]
async fn a_node_starts_without_redis_and_finds_it_by_itself() {
    let redis = Private::down(Engine::Redis, 1).await;
    let mut stage = Stage::new().await;
    stage.places.redis = redis.address();
    let one = node(&stage).await;
    until("the other engines", || async {
        let failing = json!({ "status": "ready", "failing": ["redis"] });
        (readyz(one.address).await == (StatusCode::OK, failing)).then_some(())
    })
    .await;
    assert_unavailable(&ask_for_code(&one).await);
    let ada = one.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut at_ada = ada.connect().await;
    at_ada.join(room).await;
    assert!(online(&mut at_ada, room, &ada).await);
    redis.start().await;
    until("a code", || code_works([&one, &one])).await;
    assert_eq!(
        readyz(one.address).await,
        (StatusCode::OK, json!({ "status": "ready" }))
    );
}
