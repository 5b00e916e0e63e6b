//! Every command of both versions of the socket.

use serde_json::{Value, json};

use super::{Outcome, People, Role};
use crate::harness::{
    Raw, Socket, TestApp,
    frames::{From, Wire, messages},
    raw::upgrade,
};

/// The arguments of each command of version 2, for `room`. A new command needs a line here.
fn arguments_of(command: &str, room: i64, token: &str) -> Value {
    match command {
        "auth" => json!({ "access_token": token }),
        "join" => json!({ "rooms": [{ "room": room }] }),
        "leave" => json!({ "rooms": [room] }),
        "publish" => {
            json!({ "room": room, "key": uuid::Uuid::new_v4(), "after": 0, "body": { "text": "from the matrix" } })
        }
        "history" | "typing" | "presence" => json!({ "room": room }),
        "read" => json!({ "room": room, "seq": 1 }),
        _ => panic!("{command} has no line in the matrix"),
    }
}

/// The code with which a reply denies what was asked, if it does.
fn denial(reply: &Value) -> Option<String> {
    let room = &reply["join"]["rooms"][0]["error"]["code"];
    let code = reply["error"]["code"].as_str().or(room.as_str());
    code.map(str::to_owned)
}

/// What a role has to hear.
fn expected(role: Role, command: &str) -> &'static str {
    match command {
        // Both concern nobody but the socket itself.
        "auth" | "leave" => "allowed",
        // Nobody speaks where they have not come in; it says nothing about the room.
        "publish" if role.is_outside() || role.is_former() => "NOT_JOINED",
        _ if role.is_outside() => "EVENT_NOT_FOUND",
        "history" => "allowed",
        _ if role.is_former() => "FORBIDDEN",
        _ => "allowed",
    }
}

#[tokio::test]
async fn every_role_may_send_every_command_of_version_2_that_it_should_and_no_other() {
    let app = TestApp::spawn().await;
    let people = People::new(&app).await;
    let event = people.event().await;
    for gone in [&people.suspended, &people.deleted] {
        people.host.bring(gone, event).await;
    }
    people.end().await;
    let commands = messages()
        .iter()
        .filter(|message| message.wire == Wire::V2 && message.from == From::Client);
    let commands: Vec<&str> = commands.map(|message| message.name.as_str()).collect();
    assert_eq!(commands.len(), 8, "{commands:?}");
    let mut outcome = Outcome::default();
    for role in Role::ALL {
        for command in &commands {
            let user = people.get(role);
            let token = user.map_or("none", |user| &user.token);
            let arguments = arguments_of(command, event, token);
            if role.is_nobody() {
                // Without a good credential no command is looked at.
                let mut raw = Raw::open(app.address, None, &[]).await;
                raw.text(&json!({ "id": 1, *command: arguments }).to_string())
                    .await;
                let got = denial(&raw.reply(1).await).unwrap_or_else(|| "allowed".to_owned());
                let wanted = match *command {
                    "auth" => "AUTH_TOKEN_INVALID",
                    _ => "AUTH_TOKEN_MISSING",
                };
                outcome.note(command, role, true, wanted, &got);
                continue;
            }
            let mut socket = user.unwrap().connect().await;
            let wanted = expected(role, command);
            if wanted == "allowed" && matches!(*command, "publish" | "typing" | "presence" | "read") {
                socket.join(event).await;
            }
            let asked = socket.post(command, arguments).await;
            let reply = match *command {
                // Only a refusal is told: it would come before the answer to what follows.
                "typing" => {
                    let behind = socket.post("leave", json!({ "rooms": [event] })).await;
                    let first = socket.first_reply(&[asked, behind]).await;
                    if first["id"] == asked {
                        socket.reply(behind).await;
                    }
                    first
                }
                _ => socket.reply(asked).await,
            };
            let got = denial(&reply).unwrap_or_else(|| "allowed".to_owned());
            outcome.note(command, role, wanted != "allowed", wanted, &got);
            if role.is_outside() && wanted != "allowed" {
                let nowhere = arguments_of(command, event + 1_000_000, token);
                let reply = socket.ask(command, nowhere).await;
                let got = denial(&reply).unwrap_or_else(|| "allowed".to_owned());
                outcome.note(&format!("{command} where nothing is"), role, true, wanted, &got);
            }
            socket.close().await;
        }
        // The same credential in the upgrade's header.
        if let Some(user) = people.get(role) {
            let opened = Socket::open(app.address, Some(&user.token)).await;
            let got = if opened.is_ok() { "allowed" } else { "denied" };
            let wanted = if role.is_nobody() { "denied" } else { "allowed" };
            outcome.note("upgrade", role, role.is_nobody(), wanted, got);
        }
    }
    outcome.assert_right("version 2");
}

#[tokio::test]
async fn every_role_may_open_a_socket_of_version_1_and_speak_that_it_should_and_no_other() {
    let app = TestApp::spawn().await;
    let people = People::new(&app).await;
    let event = people.event().await;
    for gone in [&people.suspended, &people.deleted] {
        people.host.bring(gone, event).await;
    }
    people.end().await;
    let mut outcome = Outcome::default();
    let mut heard_by_all = Vec::new();
    for role in Role::ALL {
        let mut raw = Raw::connect(app.address, None).await;
        let credential = people
            .get(role)
            .map(|user| format!("Authorization: Bearer {}", user.token));
        let lines: Vec<&str> = credential.iter().map(String::as_str).collect();
        raw.write(upgrade(&format!("/api/v1/ws?event_id={event}"), &lines).as_bytes())
            .await;
        let wanted = match role {
            _ if role.is_nobody() => 401,
            _ if role.is_outside() => 404,
            _ if role.is_former() => 403,
            _ => 101,
        };
        let status = raw.answer().await.status;
        outcome.note(
            "opens",
            role,
            wanted != 101,
            &wanted.to_string(),
            &status.to_string(),
        );
        if status != 101 {
            continue;
        }
        let words = format!("{role:?} speaks");
        raw.text(&json!({ "type": "typing" }).to_string()).await;
        raw.text(&json!({ "type": "message", "message": words }).to_string())
            .await;
        let heard = loop {
            let frame = raw.json().await.unwrap();
            if frame["message_type"] == "text" && frame["message"] == words {
                break frame["sender_id"].as_i64();
            }
        };
        let is_own = heard == people.get(role).map(|user| user.id);
        outcome.note("speaks", role, false, "true", &is_own.to_string());
        heard_by_all.push(words);
    }
    outcome.assert_right("version 1");
    let mut socket = people.host.connect().await;
    assert_eq!(socket.whole_record(event).await.texts(), heard_by_all);
}
