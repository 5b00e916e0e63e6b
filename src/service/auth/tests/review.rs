use super::{Bench, PHONE, START, caller, code_of};
use crate::{
    adapters::sql::users,
    config::Proof,
    domain::{time::Micros, user::UserRole},
    error::ErrorCode,
};

fn reviewed(config: &mut crate::config::Config) {
    config.auth.review_phone = "010-9999-0000".to_owned();
    config.auth.review_code = "246810".to_owned().into();
}

#[tokio::test]
async fn reviewers_number_gets_no_message_and_takes_its_fixed_code() {
    let bench = Bench::with(Proof::Code, reviewed).await;
    assert!(bench.auth.has_review_account());
    for typed in ["01099990000", "+82 10 9999 0000"] {
        let sent = bench.auth.send_code(typed, &caller()).await.unwrap();
        let id = sent.verification_id;
        let signed_in = bench
            .auth
            .verify_code(id, "246810", None, &caller())
            .await
            .unwrap();
        assert_eq!(signed_in.user.phone.unwrap().as_str(), "+821099990000");
        let again = bench.auth.verify_code(id, "246810", None, &caller()).await;
        assert_eq!(code_of(again), ErrorCode::AuthPhoneCodeExpired);
    }
    assert!(bench.post.0.lock().is_empty());
    // For everybody else that code is as good as any other.
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let code = bench.post.last();
    let fixed = bench
        .auth
        .verify_code(sent.verification_id, "246810", None, &caller())
        .await;
    assert!(code == "246810" || code_of(fixed) == ErrorCode::AuthPhoneCodeInvalid);
}

#[tokio::test]
async fn reviewers_code_is_guessed_no_more_often_than_any_other() {
    let bench = Bench::with(Proof::Code, reviewed).await;
    for _ in 0..5 {
        let sent = bench.auth.send_code("01099990000", &caller()).await.unwrap();
        for left in (0..5).rev() {
            let tried = bench
                .auth
                .verify_code(sent.verification_id, "000000", None, &caller())
                .await;
            let expected = if left > 0 {
                ErrorCode::AuthPhoneCodeInvalid
            } else {
                ErrorCode::AuthPhoneCodeExpired
            };
            assert!([expected, ErrorCode::AuthPhoneCodeInvalid].contains(&code_of(tried)));
        }
        let late = bench
            .auth
            .verify_code(sent.verification_id, "246810", None, &caller())
            .await;
        assert_eq!(code_of(late), ErrorCode::AuthPhoneCodeExpired);
    }
    let sixth = bench.auth.send_code("01099990000", &caller()).await;
    assert_eq!(code_of(sixth), ErrorCode::RateLimitExceeded);
}

#[tokio::test]
async fn without_both_settings_nobody_has_a_fixed_code() {
    let off = Bench::new(Proof::Code).await;
    assert!(!off.auth.has_review_account());
    let half = Bench::with(Proof::Code, |config| {
        config.auth.review_phone = "010-9999-0000".to_owned();
    })
    .await;
    assert!(!half.auth.has_review_account());
    half.auth.send_code("01099990000", &caller()).await.unwrap();
    assert_eq!(half.post.0.lock().len(), 1);
}

#[tokio::test]
async fn fixed_code_opens_no_administrators_account() {
    let bench = Bench::with(Proof::Code, reviewed).await;
    let enter = async || {
        let sent = bench.auth.send_code("01099990000", &caller()).await.unwrap();
        let id = sent.verification_id;
        bench.auth.verify_code(id, "246810", None, &caller()).await
    };
    let reviewer = enter().await.unwrap().user.id;
    for (role, may) in [
        (UserRole::Admin, false),
        (UserRole::SuperAdmin, false),
        (UserRole::Business, true),
    ] {
        let mut conn = bench.sql.get().await.unwrap();
        users::set_role(&mut conn, reviewer, role, Micros(START))
            .await
            .unwrap();
        drop(conn);
        let entered = enter().await;
        assert_eq!(entered.is_ok(), may, "{role:?}");
    }
}
