use std::time::Duration;

use uuid::Uuid;

use super::{Bench, Caller, PHONE, START, addr, caller, code_of, from, wrong};
use crate::{
    adapters::sql::users,
    config::Proof,
    domain::time::Micros,
    error::{Coded, ErrorCode},
    i18n::Language,
    service::auth::{SignInError, network},
};

#[tokio::test]
async fn a_code_signs_up_and_the_next_one_signs_in() {
    let bench = Bench::new(Proof::Code).await;
    let first = bench.sign_in().await;
    assert!(first.is_new);
    assert_eq!(first.user.name, "김철수");
    assert_eq!(first.user.phone.as_ref().unwrap().as_str(), "+821012345678");
    assert_eq!(
        (first.user.language.as_str(), first.user.timezone.as_str()),
        ("ko", "Asia/Seoul")
    );
    assert_eq!(first.tokens.expires_in, Duration::from_secs(900));

    let sent = bench.auth.send_code("+82 10 1234 5678", &caller()).await.unwrap();
    assert_eq!(sent.expires_at, Micros(START).plus(Duration::from_secs(300)));
    let second = bench
        .auth
        .verify_code(sent.verification_id, &bench.post.last(), Some("Other"), &caller())
        .await
        .unwrap();
    assert!(!second.is_new);
    assert_eq!(second.user, first.user, "a known number keeps its name");
    assert_ne!(second.session, first.session);

    let identity = bench.auth.authenticate(&second.tokens.access).await.unwrap();
    assert_eq!((identity.user, identity.session), (second.user, second.session));
    assert_eq!(identity.token_expires_at, second.tokens.expires_at);
}

#[tokio::test]
async fn who_gives_no_name_is_named_by_four_digits() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let signed_in = bench
        .auth
        .verify_code(sent.verification_id, &bench.post.last(), None, &caller())
        .await
        .unwrap();
    assert_eq!(signed_in.user.name, "5678");
}

#[tokio::test]
async fn a_bad_name_does_not_use_up_the_code() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let code = bench.post.last();
    for _ in 0..10 {
        let refused = bench
            .auth
            .verify_code(sent.verification_id, &code, Some("a\nb"), &caller())
            .await;
        assert_eq!(code_of(refused), ErrorCode::ValidationError);
    }
    bench
        .auth
        .verify_code(sent.verification_id, &code, Some("Kim"), &caller())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_store_that_is_away_does_not_use_up_the_code() {
    let bench = Bench::with(Proof::Code, |config| {
        config.data.pool = 1;
        config.data.pool_timeout = Duration::from_millis(50);
    })
    .await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let code = bench.post.last();
    let only_connection = bench.sql.get().await.unwrap();
    let refused = bench
        .auth
        .verify_code(sent.verification_id, &code, None, &caller())
        .await;
    assert_eq!(code_of(refused), ErrorCode::Unavailable);
    drop(only_connection);
    bench
        .auth
        .verify_code(sent.verification_id, &code, None, &caller())
        .await
        .unwrap();
}

#[tokio::test]
async fn five_wrong_tries_void_a_code() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let right = bench.post.last();
    for left in (0..5).rev() {
        let error = bench
            .auth
            .verify_code(sent.verification_id, wrong(&right), None, &caller())
            .await
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::AuthPhoneCodeInvalid);
        assert_eq!(error.details()["tries_left"], left);
    }
    let refused = bench
        .auth
        .verify_code(sent.verification_id, &right, None, &caller())
        .await;
    assert_eq!(code_of(refused), ErrorCode::AuthPhoneCodeExpired);
}

#[tokio::test]
async fn four_wrong_tries_do_not() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let right = bench.post.last();
    for _ in 0..4 {
        let refused = bench
            .auth
            .verify_code(sent.verification_id, wrong(&right), None, &caller())
            .await;
        assert!(matches!(refused, Err(SignInError::WrongCode { .. })));
    }
    bench
        .auth
        .verify_code(sent.verification_id, &format!(" {right}\n"), None, &caller())
        .await
        .unwrap();
}

#[tokio::test]
async fn parallel_wrong_tries_are_counted_too() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let right = bench.post.last();
    let tries: Vec<_> = (0..50)
        .map(|_| {
            let (auth, wrong) = (bench.auth.clone(), wrong(&right));
            tokio::spawn(async move {
                auth.verify_code(sent.verification_id, wrong, None, &caller())
                    .await
            })
        })
        .collect();
    let mut counted = 0;
    for attempt in tries {
        counted += usize::from(code_of(attempt.await.unwrap()) == ErrorCode::AuthPhoneCodeInvalid);
    }
    assert_eq!(counted, 5);
}

#[tokio::test]
async fn a_code_expires() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    bench.pass(Duration::from_secs(300));
    let late = bench
        .auth
        .verify_code(sent.verification_id, &bench.post.last(), None, &caller())
        .await;
    assert_eq!(code_of(late), ErrorCode::AuthPhoneCodeExpired);
}

#[tokio::test]
async fn a_code_fits_only_its_own_verification() {
    let bench = Bench::new(Proof::Code).await;
    let first = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let first_code = bench.post.last();
    let second = bench.auth.send_code("+14155552671", &caller()).await.unwrap();
    if bench.post.last() != first_code {
        let crossed = bench
            .auth
            .verify_code(second.verification_id, &first_code, None, &caller())
            .await;
        assert_eq!(code_of(crossed), ErrorCode::AuthPhoneCodeInvalid);
    }
    let unknown = bench
        .auth
        .verify_code(Uuid::new_v4(), &first_code, None, &caller())
        .await;
    assert_eq!(code_of(unknown), ErrorCode::AuthPhoneCodeExpired);
    let id = first.verification_id;
    assert_ne!(
        bench.auth.code_hash(id, &first_code),
        bench.auth.code_hash(second.verification_id, &first_code)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_parallel_right_tries_one_signs_in() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let code = bench.post.last();
    let tries: Vec<_> = (0..50)
        .map(|_| {
            let (auth, code) = (bench.auth.clone(), code.clone());
            tokio::spawn(async move {
                auth.verify_code(sent.verification_id, &code, None, &caller())
                    .await
            })
        })
        .collect();
    let mut signed_in = 0;
    for attempt in tries {
        match attempt.await.unwrap() {
            Ok(_) => signed_in += 1,
            Err(error) => assert!(matches!(error, SignInError::CodeGone), "{error}"),
        }
    }
    assert_eq!(signed_in, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_is_one_user_however_many_register_at_once() {
    let bench = Bench::new(Proof::None).await;
    let tries: Vec<_> = (0..20)
        .map(|_| {
            let auth = bench.auth.clone();
            tokio::spawn(async move { auth.register(PHONE, Some("Kim"), &caller()).await.unwrap() })
        })
        .collect();
    let mut all = Vec::new();
    for attempt in tries {
        all.push(attempt.await.unwrap());
    }
    assert_eq!(all.iter().filter(|signed_in| signed_in.is_new).count(), 1);
    assert!(all.iter().all(|signed_in| signed_in.user.id == all[0].user.id));
}

#[tokio::test]
async fn codes_are_limited_per_number_from_wherever_they_are_asked_for() {
    let bench = Bench::new(Proof::Code).await;
    for host in 1..=5 {
        bench
            .auth
            .send_code(PHONE, &from(&format!("192.0.2.{host}")))
            .await
            .unwrap();
    }
    let error = bench.auth.send_code(PHONE, &from("192.0.2.6")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::RateLimitExceeded);
    assert!(error.retry_after_ms().unwrap() <= 720_000);
    bench
        .auth
        .send_code("010-1234-5679", &from("192.0.2.6"))
        .await
        .unwrap();
}

#[tokio::test]
async fn codes_are_limited_per_address() {
    let bench = Bench::new(Proof::Code).await;
    for number in 0..20 {
        let phone = format!("010-1234-56{number:02}");
        bench.auth.send_code(&phone, &from("2001:db8::1")).await.unwrap();
    }
    // Another address of the same /64 is the same household.
    let refused = bench.auth.send_code("010-1234-5700", &from("2001:db8::2")).await;
    assert_eq!(code_of(refused), ErrorCode::RateLimitExceeded);
    bench
        .auth
        .send_code("010-1234-5700", &from("2001:db8:0:1::1"))
        .await
        .unwrap();
}

#[tokio::test]
async fn sign_ins_are_limited_per_address() {
    let bench = Bench::with(Proof::None, |config| config.limits.sign_ins_per_address = 3).await;
    let token = bench
        .auth
        .register(PHONE, Some("Kim"), &caller())
        .await
        .unwrap()
        .tokens
        .refresh;
    for _ in 0..2 {
        bench.auth.login(PHONE, &caller()).await.unwrap();
    }
    // Ten to each sign-in: many honest clients may be behind one address.
    for _ in 0..30 {
        bench.auth.refresh(&token, false, addr()).await.unwrap();
    }
    assert_eq!(
        code_of(bench.auth.login(PHONE, &caller()).await),
        ErrorCode::RateLimitExceeded
    );
    assert_eq!(
        code_of(bench.auth.refresh(&token, false, addr()).await),
        ErrorCode::RateLimitExceeded
    );
    assert_eq!(
        code_of(bench.auth.send_code(PHONE, &caller()).await),
        ErrorCode::RateLimitExceeded
    );
    let verify = bench
        .auth
        .verify_code(Uuid::nil(), "000000", None, &caller())
        .await;
    assert_eq!(code_of(verify), ErrorCode::RateLimitExceeded);
    bench.auth.login(PHONE, &from("192.0.2.2")).await.unwrap();
}

#[test]
fn addresses_are_told_apart_by_household() {
    let of = |addr: &str| network(addr.parse().unwrap());
    assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
}

#[tokio::test]
async fn message_is_in_the_language_asked_for_else_in_the_users_else_in_korean() {
    let bench = Bench::new(Proof::Code).await;
    let sent_in = async |asked_for| {
        let caller = Caller {
            language: asked_for,
            ..caller()
        };
        bench.auth.send_code(PHONE, &caller).await.unwrap();
        bench.post.0.lock().last().unwrap().2
    };
    assert_eq!(sent_in(None).await, Language::Ko, "nobody has the number yet");
    let who = bench.sign_in().await.user.id;
    let profile = users::Profile {
        language: Some("en"),
        ..users::Profile::default()
    };
    let mut conn = bench.sql.get().await.unwrap();
    users::set_profile(&mut conn, who, profile, Micros(START))
        .await
        .unwrap();
    drop(conn);
    assert_eq!(sent_in(None).await, Language::En);
    assert_eq!(sent_in(Some(Language::Ko)).await, Language::Ko);
}
